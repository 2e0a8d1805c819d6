from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.cli import main
from facekit.data import probe_photo

NO_SERVER = "127.0.0.1:1"


def test_detect_json_file_holds_faces_and_errors(
    url: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "faces.json"
    argv = ["detect", str(photo), "missing.jpg", "--url", url, "--json", str(path)]
    assert main([*argv, "--min-score", "0.7"]) == 1
    good, bad = json.loads(path.read_text("utf-8"))["photos"]
    assert good["photo"] == str(photo) and good["size_wh"] == [360, 300]
    assert [face["score"] for face in good["faces"]] == [0.9]
    assert good["faces"][0]["box_xyxy"] == [130, 74, 224, 180]
    assert len(good["faces"][0]["points_xy"]) == 68
    assert bad["error"]["type"] == "PhotoError"
    assert capsys.readouterr().out.splitlines()[-1] == "1 face in 1 photo; 1 photo failed"


def test_json_on_standard_output_is_a_line_a_photo(
    url: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["detect", str(photo), "missing.jpg", str(photo), "--url", url, "--json", "-"]
    assert main(argv) == 1
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == third and first["photo"] == str(photo) and len(first["faces"]) == 2
    assert second["photo"] == "missing.jpg" and second["error"]["type"] == "PhotoError"
    assert first["faces"][0]["sharpness"] == 0.375 and len(first["faces"][0]["pose_deg"]) == 3


def test_a_photo_on_standard_input_is_found_drawn_and_cut(
    url: str, photo: Path, tmp_path: Path
) -> None:
    drawn, crops = tmp_path / "drawn", tmp_path / "crops"
    argv = ["-", "--url", url, "--json", "-", "--draw", str(drawn), "--crop", str(crops)]
    done = subprocess.run(
        [sys.executable, "-m", "facekit.cli", "detect", *argv, "--draw-pose"],
        input=photo.read_bytes(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["photo"] == "-" and found["size_wh"] == [360, 300]
    assert found["drawing"] == str(drawn / "stdin.faces.jpg") and Path(found["drawing"]).exists()
    names = [str(crops / f"stdin.face{k}.jpg") for k in (1, 2)]
    assert found["crops"] == names
    sizes = []
    for name in names:
        with Image.open(name) as crop:
            sizes.append(crop.size)
    assert sizes == [(148, 148), (56, 56)]


@pytest.mark.parametrize("standard_input", ["</dev/null", "<&-"], ids=["empty", "closed"])
def test_nothing_on_standard_input_is_a_failure_of_that_photo(
    url: str, photo: Path, standard_input: str
) -> None:
    argv = [sys.executable, "-m", "facekit.cli", "detect", "-", str(photo), "--url", url]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {standard_input}', "sh", *argv, "--json", "-"],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 1
    empty, good = map(json.loads, done.stdout.splitlines())
    assert empty["photo"] == "-" and "empty" in empty["error"]["message"]
    assert len(good["faces"]) == 2


def test_crops_are_the_faces_and_replace_only_crops(
    url: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "crops"
    argv = ["detect", str(photo), str(photo), "--url", url, "--crop", str(folder)]
    for _ in range(2):
        assert main(argv) == 0
    names = sorted(path.name for path in folder.glob("*.jpg"))
    assert names == [f"photo{n}.face{k}.jpg" for n in ("-2", "") for k in (1, 2)]
    # The middle of the crop is the middle of the box, 177 and 127.
    crop = np.asarray(Image.open(folder / "photo.face1.jpg").convert("L"), int)
    there = np.asarray(Image.open(photo).convert("L"), int)[107:147, 157:197]
    assert np.abs(crop[54:94, 54:94] - there).mean() < 6
    assert main(["detect", str(photo), "--url", url, "--crop", str(photo.parent)]) == 2
    assert "contains other things than crops" in capsys.readouterr().err
    assert main(["detect", str(photo), "--url", url, "--draw-pose"]) == 2
    assert "--draw-pose goes with --draw" in capsys.readouterr().err


def test_small_and_blurred_faces_are_left_out(
    url: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["detect", str(photo), "--url", url]
    for words, number in (
        (["--min-size", "31"], 1),
        (["--min-size", "95"], 0),
        (["--min-sharpness", "0.3"], 2),
        (["--min-sharpness", "0.4"], 0),
    ):
        assert main([*ask, *words]) == 0
        assert capsys.readouterr().out.splitlines()[2].split()[2] == str(number)
    boxes_only = ["--model", "facemask_ensemble", "--min-sharpness", "0.3"]
    assert main([*ask, *boxes_only]) == 2
    assert "these faces have no sharpness" in capsys.readouterr().err


def test_detect_draws_each_photo_under_a_name_of_its_own(
    url: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "drawn"
    argv = ["detect", str(photo), str(photo), "missing.jpg", "--url", url, "--draw", str(folder)]
    assert main(argv) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["photo-2.faces.jpg", "photo.faces.jpg"]
    drawn = np.asarray(Image.open(folder / "photo.faces.jpg"), int)
    plain = np.asarray(Image.open(photo), int)
    difference = np.abs(drawn - plain).max(axis=2)
    assert drawn.shape == plain.shape
    assert np.median(difference[100:150, 128:133].max(axis=1)) > 60  # The box's left edge.
    assert difference[:, 300:].max() < 40
    assert "photo-2.faces.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        ("--json", "photo.jpg/below", "photo.jpg/below: cannot be written: Not a directory"),
        ("--draw", "photo.jpg/below", "photo.jpg/below: cannot be written: Not a directory"),
        ("--draw", "photo.jpg", "photo.jpg: is not a folder"),
    ],
)
def test_detect_output_that_cannot_be_written_is_named(
    photo: Path,
    option: str,
    path: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo.parent)
    # A file stands where a folder would have to be; no server is asked.
    assert main(["detect", photo.name, "--url", NO_SERVER, option, path]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "kept", "reason"),
    [
        (["--json", "photo.jpg"], "photo.jpg", "is a file that is read"),
        (["--json", "link.jpg"], "photo.jpg", "is a file that is read"),
        (["--json", "instances.json"], "instances.json", "was not written by facekit"),
        (["--draw", "."], "photo.faces.jpg", "was not written by facekit"),
    ],
)
def test_detect_replaces_no_file_of_others(
    photo: Path,
    argv: list[str],
    kept: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("instances.json").write_text('{"photos": [], "images": []}')
    Path("photo.faces.jpg").write_bytes(probe_photo())
    Path("link.jpg").symlink_to("photo.jpg")
    before = Path(kept).read_bytes()
    assert main(["detect", "photo.jpg", "--url", NO_SERVER, *argv]) == 2
    err = capsys.readouterr().err
    assert reason in err and "give another name" in err and err.count("\n") == 1
    assert Path(kept).read_bytes() == before and not Path(kept).is_symlink()


def test_detect_replaces_its_own_files_but_no_photo(
    url: str, photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    argv = ["detect", "photo.jpg", "--url", url, "--json", "faces.json", "--draw", "."]
    assert main(argv) == 0 and main(argv) == 0
    assert main([*argv[:2], "photo.faces.jpg", *argv[2:]]) == 2
    assert "photo.faces.jpg: is a file that is read" in capsys.readouterr().err
