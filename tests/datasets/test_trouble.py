"""What can't be used is said, and does not stop the rest."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.cli import main
from facekit.datasets.convert import convert_photo
from facekit.datasets.kitti_folder import KittiFolder
from facekit.datasets.source import SourcePhoto
from facekit.errors import DataError
from tests.datasets.face_sets import FRAME_WH, write_photo, write_wider
from tests.datasets.tutorial_sets import (
    SIZE,
    WIDER_EVENTS,
    convert,
    labels,
    line,
    write_all,
)


def test_what_can_not_be_used_is_said_and_does_not_stop_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = write_all(tmp_path)
    images = tmp_path / "kaggle" / "images"
    for name in ("cut", "gone", "grown", "text", "out"):
        write_photo(images / f"{name}.jpg")
        source = tmp_path / "kaggle" / "labels" / "x.xml"
        (tmp_path / "kaggle" / "labels" / f"{name}.xml").write_text(source.read_text())
    (images / "cut.jpg").write_bytes((images / "cut.jpg").read_bytes()[:600])
    write_photo(images / "grown.jpg", (300, 100))
    (images / "text.jpg").write_text("no photo")
    (images / "gone.jpg").unlink()
    path = tmp_path / "fddb" / "FDDB-folds" / "FDDB-fold-01-ellipseList.txt"
    path.write_text(
        "2002/1/x\n3\n40 20 0 60 30 1\n9 9 0 500 30 1\n9 0 0 50 30 1\n"
        "2002/2/x\none\n9 9 0 9 9 1\n"
        "2002/3/x\n1\n9 9 0 9 9 1\n"
    )
    assert convert(tmp_path / "out", *options) == 1
    captured = capsys.readouterr()
    said = captured.err.replace(f"{tmp_path}/", "").splitlines()
    assert said.pop(1).startswith("kaggle/images/cut.jpg: cannot be decoded: ")
    assert said == [
        "kaggle/labels/gone.xml: no photo gone.* in kaggle/images",
        "kaggle/images/grown.jpg: is 300 x 100, grown.xml says 200 x 100",
        "kaggle/images/text.jpg: is not a picture of a known format",
        "kaggle: 3 photos written, 4 left out that can't be used (see above)",
        "mafa: 2 photos written, 1 left out by the set's rules",
        f"fddb/FDDB-folds/{path.name}:7: expected the number of faces, got 'one'",
        f"fddb/FDDB-folds/{path.name}:5: an empty box: 50, 30, 50, 30",
        f"fddb/FDDB-folds/{path.name}:4: a box outside the photo of 200 x 100: 491, 21, 509, 39",
        "fddb/2002/3/x.jpg: no such file",
        "fddb: 1 photo written, 4 left out that can't be used (see above)",
        "wider: 1 photo written",
    ]
    assert "Final: Total Mask Labelled:4\nTotal No-Mask Labelled:5\n" in captured.out
    found = labels(tmp_path / "out" / "train")
    assert found["fddb_2002_1_x"] == [line("No-Mask", 40, 40, 200, 200)]
    assert set(found) == {
        *("kaggle_x", "kaggle_y", "kaggle_out"),
        *("mafa_train_1", "mafa_train_3", "fddb_2002_1_x", "wider_4_a"),
    }


def test_a_missing_folder_is_found_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = write_all(tmp_path)
    options[options.index("--widerface-dataset-path") + 1] = str(tmp_path / "nowhere")
    assert convert(tmp_path / "out", *options) == 2
    assert "nowhere/WIDER_train/images: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "part", "said"),
    [
        ((), "--train", "no set to convert: give one of --kaggle-dataset-path, --mask-detection"),
        (("--fddb-dataset-path", "x"), "--val", "give one of --mask-detection-path, --mafa-"),
    ],
)
def test_nothing_to_convert(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: Sequence[str],
    part: str,
    said: str,
) -> None:
    assert convert(tmp_path / "out", *options, part=part) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--train", "--val"],
        ["--train", "--category-limit", "0"],
        ["--train", "--workers", "two"],
        ["--train", "--tlt-input-dims_width", "9000"],
        [],
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "--kitti-base-path", str(tmp_path), *options])
    assert caught.value.code == 2


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    with KittiFolder(tmp_path / "out", FRAME_WH) as folder:
        name = folder.write("set", "../../a\\b:c", "x", b"jpeg", "")
        # Some file systems do not tell these apart.
        assert [folder.write("set", letter, "x", b"", "") for letter in "aAa"] == [
            "set_a",
            "set_A-2",
            "set_a-3",
        ]
    assert name == "set_.._.._a_b_c"
    assert (tmp_path / "out" / "images" / f"{name}.jpg").read_bytes() == b"jpeg"


def test_a_damaged_list_of_sources_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sources.json").write_text("{")
    with (
        pytest.raises(DataError, match=r"sources.json: cannot be read"),
        KittiFolder(tmp_path / "out", FRAME_WH),
    ):
        pass


def test_what_was_written_before_an_error_is_known_to_the_next_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), KittiFolder(tmp_path, FRAME_WH) as folder:
        folder.write("set", "a", "a.jpg", b"jpeg", "")
        raise RuntimeError
    with KittiFolder(tmp_path, FRAME_WH) as folder:
        assert folder.finish_set("set") == 1
    assert list((tmp_path / "images").iterdir()) == list((tmp_path / "labels").iterdir()) == []


def test_without_scipy_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write_all(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert convert(tmp_path / "out", *options) == 2
    assert capsys.readouterr().err == (
        "facekit: scipy.io is not installed: install facekit-triton[data] "
        "(in the clone: pip install '.[data]')\n"
    )
    # Text lists and VOC files need no SciPy.
    del options[2:4]
    write_wider(tmp_path / "wider", WIDER_EVENTS, matlab=False, text=True)
    assert convert(tmp_path / "out", *options) == 0


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tiff", "webp", "ppm"])
def test_no_damaged_photo_stops_a_run(tmp_path: Path, suffix: str) -> None:
    write_photo(tmp_path / "whole" / f"x.{suffix}", (40, 30))
    whole = (tmp_path / "whole" / f"x.{suffix}").read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / f"x.{suffix}"
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole[: rng.integers(0, len(whole) + 1)] if rng.random() < 0.5 else whole)
        for place in rng.integers(0, max(1, len(data)), 6):
            data[place : place + 1] = rng.bytes(1)
        path.write_bytes(data)
        source = SourcePhoto("x", path, path, (), empty=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = convert_photo(source, (32, 32), dont_care=False)
        assert (converted.jpeg is None) == bool(converted.problems)
        assert all(problem.path == path for problem in converted.problems)
        outcomes.add(converted.jpeg is None)
    assert True in outcomes


def test_photos_of_other_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    clear = Image.new("RGBA", (20, 20), (200, 0, 0, 0))
    clear.save(folder / "clear.png")
    Image.new("L", (20, 20), 128).save(folder / "gray.png")
    Image.new("CMYK", (20, 20), (0, 0, 0, 0)).save(folder / "print.jpg", quality=95)
    assert convert(tmp_path / "out", "--empty-path", str(folder), *SIZE) == 0
    for name, expected in (("clear", 255), ("gray", 128), ("print", 255)):
        with Image.open(tmp_path / "out" / "train" / "images" / f"empty_{name}.jpg") as image:
            pixels = np.asarray(image).astype(int)
        assert pixels.shape == (400, 400, 3) and abs(pixels - expected).max() <= 3


def test_progress_is_drawn_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert convert(tmp_path / "out", *write_all(tmp_path)) == 0
    drawn = capsys.readouterr().err
    assert "photos of kaggle" in drawn and "photos of wider" in drawn


def test_sets_without_a_part_to_evaluate_on_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(tmp_path / "out", *write_all(tmp_path), part="--val") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "--kaggle-dataset-path: has no part to evaluate on, left out",
        "--fddb-dataset-path: has no part to evaluate on, left out",
    ]
