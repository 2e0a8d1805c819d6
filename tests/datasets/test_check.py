"""What ``--check-labels`` finds and draws."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.cli import main
from facekit.datasets.check import COLORS, TILES, check_folder, drawn, sample
from facekit.errors import DataError
from facekit.labels.kitti import kitti_line
from tests.datasets.face_sets import write_photo


def write_folder(folder: Path, names: list[str]) -> Path:
    (folder / "labels").mkdir(parents=True)
    for number, name in enumerate(names):
        write_photo(folder / "images" / f"{name}.jpg", (160, 90), seed=number)
        lines = [kitti_line("Mask", (10, 20, 60, 80)), kitti_line("No-Mask", (90, 20, 140, 80))]
        (folder / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def check(base: Path, *options: str) -> int:
    return main(["data", "--check-labels", "--kitti-base-path", str(base), *options])


def test_a_sample_takes_every_set_alike(tmp_path: Path) -> None:
    names = [*(f"a_{k:03d}" for k in range(60)), *(f"b-c_{k}" for k in range(9)), "d_1"]
    chosen = sample(check_folder(write_folder(tmp_path, names)).photos, 21)
    sets = [photo.source.stem.partition("_")[0] for photo in chosen]
    assert {name: sets.count(name) for name in set(sets)} == {"d": 1, "b-c": 9, "a": 11}
    assert len({photo.source for photo in chosen}) == 21


def test_boxes_are_drawn_where_they_are_in_the_color_of_their_class(tmp_path: Path) -> None:
    (photo,) = check_folder(write_folder(tmp_path, ["a_1"])).photos
    picture = np.asarray(drawn(photo))
    plain = np.asarray(Image.open(tmp_path / "images" / "a_1.jpg"))
    changed = (picture != plain).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 79, 10, 139)
    assert not changed[:, 60:90].any() and not changed[25:75, 15:55].any()
    assert tuple(picture[20, 30]) == COLORS["mask"]
    assert tuple(picture[20, 100]) == COLORS["no-mask"]


def test_contact_sheet_of_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "train", [f"kaggle_{k}" for k in range(8)])
    write_folder(tmp_path / "test", ["mafa_1"])
    assert check(tmp_path) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path / 'train'}: 8 photos, 8 Mask, 8 No-Mask\n" in out
    assert f"{tmp_path / 'test'}: 1 photo, 1 Mask, 1 No-Mask\n" in out
    with Image.open(tmp_path / "train" / "check.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    for name in ("mask", "no-mask"):
        assert (pixels == COLORS[name]).all(axis=2).sum() > 200  # the legend's squares and more
    # Six photos beside each other, and two below.
    assert sheet.width > 6 * 320 and 2 * 180 < sheet.height < 3 * 180 + 60
    assert (tmp_path / "test" / "check.png").is_file()
    assert check(tmp_path) == 0
    (tmp_path / "test" / "check.png").write_text("notes")
    assert check(tmp_path) == 2
    assert "check.png: exists and was not written by facekit" in capsys.readouterr().err
    assert (tmp_path / "test" / "check.png").read_text() == "notes"


def test_one_photo_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "train", ["kaggle_000_1OC3DT", "kaggle_x"])
    for name in ("000_1OC3DT", "kaggle_000_1OC3DT"):
        assert check(tmp_path, "--label_filename", name) == 0
        assert capsys.readouterr().out.splitlines() == [
            "Bounding Box [[10.0, 20.0, 60.0, 80.0], [90.0, 20.0, 140.0, 80.0]]",
            "Category: ['Mask', 'No-Mask']",
            str(tmp_path / "train" / "check_kaggle_000_1OC3DT.png"),
        ]
    assert check(tmp_path, "--label_filename", "other") == 2
    assert "no photo other" in capsys.readouterr().err


def test_files_that_do_not_fit_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "train", ["a_1", "a_2", "a_3", "a_4"])
    (tmp_path / "train" / "labels" / "a_1.txt").unlink()
    (tmp_path / "train" / "images" / "a_2.jpg").unlink()
    (tmp_path / "train" / "labels" / "a_3.txt").write_text("\nMask 0 0 0 1 2 3\n")
    assert check(tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.err.replace(f"{tmp_path}/", "").splitlines() == [
        "train/images/a_1.jpg: has no labels",
        "train/labels/a_2.txt: has no photo",
        "train/labels/a_3.txt:2: 7 fields, expected 15 of KITTI",
    ]
    assert "1 photo, 1 Mask, 1 No-Mask" in captured.out


def test_there_must_be_something_to_check(tmp_path: Path) -> None:
    assert check(tmp_path) == 2
    with pytest.raises(DataError, match="images: no such folder"):
        check_folder(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"images: contains no .jpg"):
        check_folder(tmp_path)


def test_every_frame_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # More photos than a sample takes: it is not by chance that the damaged one is found.
    folder = write_folder(tmp_path / "train", [f"a_{k:03d}" for k in range(TILES * 3)])
    drawn_names = {photo.source.stem for photo in sample(check_folder(folder).photos)}
    name = next(f"a_{k:03d}" for k in range(TILES * 3) if f"a_{k:03d}" not in drawn_names)
    path = folder / "images" / f"{name}.jpg"
    path.write_bytes(path.read_bytes()[:500])
    assert check(tmp_path, "--workers", "3") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"{path}: cannot be decoded: ")
    assert f"{TILES * 3 - 1} photos" in captured.out


def test_frames_of_another_size_and_boxes_beyond_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ["a_1", "a_2", "a_3", "a_4", "a_5"])
    write_photo(folder / "images" / "a_2.jpg", (160, 91))
    rows = [(0, 0, 160, 90), (0, 0, 160.1, 90), (0, 0, 160, 90.1), (-0.1, 0, 9, 9), (0, -0.1, 9, 9)]
    lines = [kitti_line("Mask", row) for row in rows]
    (folder / "labels" / "a_4.txt").write_text("\n".join(lines))
    beyond = [
        f"labels/a_4.txt: object {number} reaches beyond its frame of 160 x 90: {box}"
        for number, box in (
            (2, "0, 0, 160.1, 90"),
            (3, "0, 0, 160, 90.1"),
            (4, "-0.1, 0, 9, 9"),
            (5, "0, -0.1, 9, 9"),
        )
    ]

    def problems() -> list[str]:
        return [str(problem).replace(f"{folder}/", "") for problem in check_folder(folder).problems]

    other = "images/a_2.jpg: is 160 x 91, the other frames are 160 x 90"
    assert problems() == [other, *beyond]
    # What the folder says counts, however many frames are of another size.
    (folder / "sources.json").write_text('{"size_wh": [160, 91], "photos": {}}')
    wrong = [error for error in problems() if error.endswith("frames are 160 x 91")]
    assert [error.split(":")[0] for error in wrong] == [f"images/a_{k}.jpg" for k in (1, 3, 4, 5)]


def test_one_photo_by_its_name_does_not_hide_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "train", ["kaggle_x", "mafa_x", "mafa_y"])
    write_folder(tmp_path / "test", ["wider_x"])
    (tmp_path / "train" / "images" / "mafa_x.jpg").write_text("no photo")
    (tmp_path / "train" / "labels" / "mafa_y.txt").write_text("broken")
    assert check(tmp_path, "--label_filename", "x") == 1
    captured = capsys.readouterr()
    assert "train/images/mafa_x.jpg: cannot be decoded" in captured.err
    assert "mafa_y" not in captured.err
    pictures = [line for line in captured.out.splitlines() if line.endswith(".png")]
    assert [Path(line).name for line in pictures] == ["check_kaggle_x.png", "check_wider_x.png"]
    assert check(tmp_path, "--label_filename", "y") == 1
    assert "mafa_y.txt:1: 1 fields" in capsys.readouterr().err


def test_a_photo_is_only_named_to_check_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--kitti-base-path", str(tmp_path), "--empty-path", "x", "--label_filename", "x"]
    assert main(["data", "--train", *options]) == 2
    assert "--label_filename names a photo to draw: give it with --check-labels" in (
        capsys.readouterr().err
    )


def test_names_that_are_no_text_are_drawn(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", [os.fsdecode(b"a_\xff")])
    assert check(tmp_path) == 0
    assert (tmp_path / "train" / "check.png").is_file()
