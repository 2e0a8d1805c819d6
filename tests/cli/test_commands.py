"""What the subcommands of ``facekit`` have in common, and those without a file of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import facekit
from facekit.cli import build_parser, main, status
from facekit.cli.status import describe
from facekit.errors import ServerError
from facekit.serving.health import Health, ModelHealth


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"facekit {facekit.__version__}\n"
    pyproject = Path(facekit.__file__).parents[1] / "pyproject.toml"
    assert f'\nversion = "{facekit.__version__}"\n' in pyproject.read_text("utf-8")


def test_every_module_of_the_package_is_a_subcommand() -> None:
    modules = {
        path.stem
        for path in Path(facekit.__file__).with_name("cli").glob("*.py")
        if not path.name.startswith("_")
    }
    listed = set(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr]
    assert listed == modules and {"detect", "serve", "status"} <= modules


def test_help_loads_no_server_library() -> None:
    code = (
        "import sys\nfrom facekit.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('loaded:', [m for m in ('grpc', 'PIL', 'nvidia.dali') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(facekit.__file__).parents[1],
    )  # fmt: skip
    assert "detect" in done.stdout and done.stdout.endswith("loaded: []\n")


def test_status_shows_no_control_characters_of_the_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    health = Health("here:1", True, (ModelHealth("faces", 1.0, ServerError("one\n\x1b[2Jtwo")),))
    assert describe(health).splitlines()[0] == "faces              FAILED  one \\x1b[2Jtwo"
    health = Health("here:1", False, (), "one\n\x9btwo")
    assert describe(health) == "here:1 does not work: one \\x9btwo"
    health = Health("here:1", True, (ModelHealth("faces", 1.0, None),), version="1\x1b[2J")
    assert "Triton 1\\x1b[2J has known holes" in describe(health)


def test_status_of_a_triton_without_known_holes_says_nothing_of_them() -> None:
    health = Health("here:1", True, (ModelHealth("faces", 1.0, None),), version="2.74.0")
    assert describe(health).splitlines()[-1] == "here:1 works."


def test_serve_with_a_configuration_that_no_model_has_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serve", "--config-name", "nope"]) == 2
    assert "has a file configs/nope.pbtxt; expected one of cpu, open" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("PIL.Image", "draw"),
        ("onnxruntime", "server"),
        ("sklearn.cluster", "bench"),
        ("skimage", "bench"),
        ("matplotlib.figure", "bench"),
        ("threadpoolctl", "bench"),
    ],
)
def test_missing_module_names_its_extra(
    module: str, extra: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(args: object) -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(status, "run", run)
    assert main(["status"]) == 2
    assert f"{module} is not installed: install facekit-triton[{extra}] " in capsys.readouterr().err
    pyproject = (Path(facekit.__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    assert f"\n{extra} = [" in pyproject


def test_interrupted_conversion_of_a_set_says_that_the_same_command_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("facekit.datasets.run.convert_sets", interrupt)
    argv = ["data", "--train", "--kitti-base-path", str(tmp_path), "--empty-path", str(tmp_path)]
    assert main(argv) == 130
    words = "facekit: stopped; the same command completes the folder\n"
    assert capsys.readouterr().err == words
