"""What is refused before the work: options, files and packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from facekit.cli import main
from tests.cli.evaluate.three_faces import faces_of
from tests.fake_triton import FakeTriton


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "the following arguments are required: --labels"),
        (["--labels", "x", "--iou", "0"], 2, "expected a number above 0, up to 1, got 0"),
        (["--labels", "x", "--iou", "1.5"], 2, "expected a number above 0, up to 1, got 1.5"),
        (["--labels", "x", "--min-height", "-1"], 2, "expected pixels from 0 to 415, got -1"),
        (["--labels", "x", "--min-height", "416"], 2, "expected pixels from 0 to 415, got 416"),
        (["--labels", "x", "--mode", "MEAN"], 2, "invalid choice: 'MEAN'"),
        (["--labels", "x", "--split", "evaluation", "--list", "y"], 2, "not allowed with"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *options])
    assert caught.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "fpenet"], "expected one of faces, facenet_ensemble, facemask_ensemble"),
        (["--class-map", "mask"], "expected LABEL=CLASS,..., got 'mask'"),
        (["--photos", "nowhere"], "nowhere: no such folder"),
        (["--labels", "nowhere"], "nowhere: no such file or folder"),
        (["--list", "nowhere"], "nowhere: no such file"),
        (["--url", "http://localhost:1"], "expected host:port"),
        (["--plot", "curve"], "curve: expected a name that ends in .png"),
        (["--plot", "curve.doc"], "curve.doc: expected a name that ends in .png"),
        (["--plot", "."], ".: expected a name that ends in .png"),
        (["--json", "."], "facekit: .: is a folder; give"),
        (["--json", f"{__file__}/folder/out.json"], "cannot be written: Not a directory"),
        (["--plot", f"{__file__}/out.png"], "cannot be written: Not a directory"),
    ],
)
def test_what_is_not_there_is_named_before_the_work(
    data: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton(faces_of) as fake:
        assert main(["evaluate", "--labels", str(data), "--url", fake.url, *options]) == 2
        assert fake.received == []
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, which takes no files")
def test_a_folder_that_takes_no_files_is_told_once_before_the_work(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton(faces_of) as fake:
        for command in (
            ["evaluate", "--labels", str(data), "--json"],
            ["evaluate", "--labels", str(data), "--plot"],
            ["detect", str(data / "images"), "--json"],
        ):
            assert main([*command, "/proc/out.png", "--url", fake.url]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("facekit: /proc") and line.count("/proc") == 1
            assert "cannot be written" in line
        assert fake.received == []


def test_what_needs_a_package_names_the_extra_of_the_subcommand(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton(faces_of) as fake:
        monkeypatch.setitem(sys.modules, "PIL", None)
        assert main(["evaluate", "--labels", str(data), "--url", fake.url]) == 2
        assert fake.received == []
    expected = "PIL is not installed: install facekit-triton[evaluate] "
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "module", "extra"),
    [
        (["evaluate", "--labels", "x"], "matplotlib.figure", "evaluate"),
        (["evaluate", "--labels", "x"], "pytriton", "server"),
        (["data", "--train", "--kitti-base-path", "x"], "PIL", "data"),
        (["data", "--train", "--kitti-base-path", "x"], "scipy.io", "data"),
        (["bench"], "matplotlib", "bench"),
        (["detect", "x"], "PIL", "draw"),
    ],
)
def test_the_extra_is_that_of_the_subcommand(
    argv: list[str],
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(args: object) -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(f"facekit.cli.{argv[0]}.run", run)
    assert main(argv) == 2
    assert capsys.readouterr().err.endswith(f"(in the clone: pip install '.[{extra}]')\n")
