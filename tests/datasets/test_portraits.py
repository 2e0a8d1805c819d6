"""Portraits with landmarks, and photos without faces."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.datasets.convert import Converted, convert_photo, without
from facekit.datasets.portraits import portrait_window, read_empty, read_portraits
from facekit.datasets.source import SourceFace, SourcePhoto
from facekit.errors import DataError
from facekit.labels.kitti import read_kitti
from facekit.photos.header import upright_points
from tests.datasets.face_sets import (
    box_points,
    write_photo,
    write_pts,
)
from tests.datasets.reports import faces, fail
from tests.datasets.tutorial_sets import SIZE, convert, labels


def test_portraits_are_cut_around_each_face(tmp_path: Path) -> None:
    write_photo(tmp_path / "one.jpg", (400, 300))
    write_photo(tmp_path / "two_2.jpg", (400, 300))
    write_pts(tmp_path / "one_1.pts", box_points(100, 100, 150, 180))
    write_pts(tmp_path / "two_2_1.pts", box_points(20, 60, 60, 100))
    write_pts(tmp_path / "two_2_2.pts", box_points(300, 60, 340, 100))
    found = read_portraits(tmp_path, fail)
    assert faces(found) == {
        "one_1": [("No-Mask", (100, 80, 150, 180))],
        "two_2_1": [("No-Mask", (20, 50, 60, 100)), ("No-Mask", (300, 50, 340, 100))],
        "two_2_2": [("No-Mask", (20, 50, 60, 100)), ("No-Mask", (300, 50, 340, 100))],
    }
    one = found[0]
    assert one.window_xyxy is not None
    left, top, right, bottom = one.window_xyxy
    assert left <= 100 and right >= 150 and top <= 80 and bottom >= 180
    assert [region[0::2] for region in one.unlabeled_xyxy] == [
        (-math.inf, 87.5),
        (162.5, math.inf),
    ]


def test_windows_stay_in_their_range_and_hold_the_face() -> None:
    face = (200.0, 100.0, 260.0, 180.0)
    heights, aspects = [], []
    for number in range(300):
        left, top, right, bottom = portrait_window(f"{number}_1", face)
        assert left <= 200 and top <= 100 and right >= 260 and bottom >= 180
        heights.append((bottom - top) / 80)
        aspects.append((right - left) / (bottom - top))
    assert 1.5 <= min(heights) < 1.6 and 2.4 < max(heights) <= 2.5
    assert 2 / 3 <= min(aspects) < 0.7 and 1.3 < max(aspects) <= 4 / 3 + 1e-9
    assert portrait_window("7_1", face) == portrait_window("7_1", face)


def test_what_is_wrong_with_a_face_is_said_once_and_of_its_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "p.jpg", (200, 200))
    write_photo(tmp_path / "torn.jpg")
    (tmp_path / "torn.jpg").write_text("no photo")
    write_pts(tmp_path / "torn_1.pts", box_points(1, 2, 3, 4))
    write_pts(tmp_path / "lost_1.pts", box_points(1, 2, 3, 4))
    write_pts(tmp_path / "p_1.pts", box_points(50, 60, 90, 100))
    write_pts(tmp_path / "p_2.pts", [(5.0, 5.0)] * 68)
    (tmp_path / "p_3.pts").write_text("nothing")
    write_pts(tmp_path / "p_4.pts", box_points(300, 60, 340, 100))
    # Annotated beyond the face alone, which makes no box.
    beyond = [(math.nan, math.nan)] * 68 + [(9.0, 9.0)] * 12
    write_pts(tmp_path / "p_5.pts", beyond)
    write_pts(tmp_path / "p_6.pts", box_points(120, 60, 160, 100))
    out = tmp_path / "out"
    assert convert(out, "--portraits-path", str(tmp_path), *SIZE) == 1
    said = [
        re.sub("torn.jpg: .*", "torn.jpg", line).replace(f"{tmp_path}/", "")
        for line in capsys.readouterr().err.splitlines()
    ]
    assert sorted(said[:-1]) == [
        "lost_1.pts: no photo lost.* beside it",
        "p_2.pts: an empty box: 5, 5, 5, 5",
        "p_3.pts: has no list of points in braces",
        "p_4.pts: a box outside the photo of 200 x 200: 300, 50, 340, 100",
        "p_5.pts: a box that is not finite: nan, nan, nan, nan",
        "torn.jpg",
    ]
    assert said[-1] == "portraits: 2 photos written, 6 left out that can't be used (see above)"
    assert set(labels(out / "train")) == {"portraits_p_1", "portraits_p_6"}


def test_a_portrait_is_called_as_its_points(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "a.png", (50, 50))
    write_photo(tmp_path / "b.jpg")
    write_pts(tmp_path / "b.pts", box_points(10, 30, 30, 50))
    for number in (3, 7):
        write_pts(tmp_path / f"a_{number}.pts", box_points(10, 30, 30, 50))
    found = read_portraits(tmp_path, fail)
    assert [(photo.name, photo.photo.name, photo.labels.name) for photo in found] == [
        ("a_3", "a.jpg", "a_3.pts"),
        ("a_7", "a.jpg", "a_7.pts"),
        ("b", "b.jpg", "b.pts"),
    ]
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare: contains no .pts file"):
        read_portraits(tmp_path / "bare", fail)


def white_box(picture: Path) -> tuple[int, ...]:
    with Image.open(picture) as image:
        box = image.convert("L").point(lambda value: 255 * (value > 128)).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_window_shows_what_its_label_says(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((500, 700, 3), np.uint8)
    pixels[200:300, 320:400] = 255  # the face, forehead and all
    corners = np.array([[320, 220], [400, 300]], np.float32)
    size_wh = (700, 500)
    tags = Image.Exif()
    tags[0x0112] = orientation
    upright = Image.fromarray(pixels)
    # As a camera stores it; the points are of the stored pixels.
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turn[8] = Image.Transpose.ROTATE_270
    kept = upright.transpose(turn[orientation]) if orientation in turn else upright
    kept.save(tmp_path / "p.png", exif=tags)
    back = {1: 1, 3: 3, 6: 8, 8: 6}[orientation]
    points = upright_points(corners, size_wh, back)
    middle = points.mean(axis=0)
    write_pts(tmp_path / "p_1.pts", [tuple(points[0]), tuple(points[1]), *[tuple(middle)] * 66])
    out = tmp_path / "out"
    assert convert(out, "--portraits-path", str(tmp_path), *SIZE) == 0
    box = read_kitti(out / "train" / "labels" / "portraits_p_1.txt").boxes_xyxy[0]
    np.testing.assert_allclose(
        box, white_box(out / "train" / "images" / "portraits_p_1.jpg"), atol=2
    )
    assert 400 / 2.6 < box[3] - box[1] < 400 / 1.4


def window_of(faces: list[SourceFace], **about: object) -> SourcePhoto:
    photo = SourcePhoto(
        "x", Path("x.png"), Path("x.pts"), tuple(faces), window_xyxy=(100, 0, 200, 100),
        subject=faces[0], upright=True,
    )  # fmt: skip
    return replace(photo, **about)  # type: ignore[arg-type]


def rows(converted: Converted) -> list[tuple[str, tuple[float, ...]]]:
    fields = [line.split() for line in converted.labels.splitlines()]
    return [(row[0], tuple(float(value) for value in row[4:8])) for row in fields]


def test_which_faces_are_in_a_window(tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "x.png")
    subject = SourceFace((140, 40, 160, 60), "No-Mask")
    others = [
        SourceFace(box, "No-Mask")
        for box in (
            (90, 0, 110, 20),  # its center is on the window's left edge, which is inside
            (190, 0, 210, 20),  # and on its right edge, which is not
            (80, 0, 110, 20),
            (250, 0, 270, 20),
            (400, 0, 410, 10),  # outside the photo, and reported in its own window
        )
    ]
    source = window_of([subject, *others], photo=tmp_path / "x.png")
    converted = convert_photo(source, (100, 100), dont_care=False)
    assert rows(converted) == [("No-Mask", (40, 40, 60, 60)), ("No-Mask", (0, 0, 10, 20))]
    assert converted.counts == {"No-Mask": 2} and converted.problems == ()


def test_a_subject_whose_center_is_beyond_the_edge_is_labeled(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "x.png")
    subject = SourceFace((190, 40, 230, 60), "No-Mask")
    source = window_of([subject], photo=tmp_path / "x.png")
    converted = convert_photo(source, (100, 100), dont_care=False)
    assert rows(converted) == [("No-Mask", (90, 40, 100, 60))]


def test_what_nobody_labeled_is_cut_around_labeled_faces(tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "x.png")
    subject = SourceFace((140, 40, 160, 60), "No-Mask")
    beside = SourceFace((170, 20, 190, 40), "No-Mask")
    strips = ((-math.inf, -math.inf, 135.0, math.inf), (165.0, -math.inf, math.inf, math.inf))
    source = window_of([subject, beside], photo=tmp_path / "x.png", unlabeled_xyxy=strips)
    found = rows(convert_photo(source, (100, 100), dont_care=False))
    covered = np.zeros((100, 100), int)
    for name, (x1, y1, x2, y2) in found:
        covered[int(y1) : int(y2), int(x1) : int(x2)] += 1 if name == "DontCare" else 100
    expected = np.zeros((100, 100), int)
    expected[:, :35] = expected[:, 65:] = 1
    expected[40:60, 40:60] = expected[20:40, 70:90] = 100
    np.testing.assert_array_equal(covered, expected)


def test_cutting_boxes_out_of_a_region() -> None:
    assert without((0, 0, 9, 9), []) == [(0, 0, 9, 9)]
    assert without((0, 0, 0, 9), []) == []
    assert without((2, 2, 4, 4), [(0, 0, 9, 9)]) == []
    assert without((0, 0, 9, 9), [(9, 0, 12, 9), (0, 20, 9, 30)]) == [(0, 0, 9, 9)]
    rng = np.random.default_rng(4)
    for _ in range(50):
        low = rng.integers(0, 15, (4, 2))
        holes = np.concatenate([low, low + rng.integers(1, 9, (4, 2))], axis=1)
        covered = np.zeros((30, 30), int)
        for x1, y1, x2, y2 in without((3, 4, 18, 17), [tuple(hole) for hole in holes.tolist()]):
            covered[y1:y2, x1:x2] += 1
        expected = np.zeros((30, 30), int)
        expected[4:17, 3:18] = 1
        for x1, y1, x2, y2 in holes:
            expected[y1:y2, x1:x2] = 0
        np.testing.assert_array_equal(covered, expected)


def test_the_limit_counts_the_faces_of_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two pairs far from each other, each pair so close that one window holds both.
    write_photo(tmp_path / "p.jpg", (2000, 400))
    for number, left in enumerate((300, 302, 1700, 1702), start=1):
        write_pts(tmp_path / f"p_{number}.pts", box_points(left, 180, left + 60, 240))
    options = ("--portraits-path", str(tmp_path), *SIZE)
    for workers in ("1", "3"):
        out = tmp_path / f"out{workers}"
        assert convert(out, *options, "--category-limit", "5", "--workers", workers) == 0
        captured = capsys.readouterr()
        assert "portraits: 2 photos written, 2 over the limit" in captured.err
        assert "Total No-Mask Labelled:4\n" in captured.out
        lines = [line for text in labels(out / "train").values() for line in text]
        assert sum(line.startswith("No-Mask") for line in lines) == 4


def test_photos_without_faces(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG"):
        write_photo(tmp_path / name)
    (tmp_path / "readme.txt").write_text("x")
    found = read_empty(tmp_path)
    assert [(photo.name, photo.wanted, photo.faces) for photo in found] == [
        ("a", True, ()),
        ("b", True, ()),
    ]
    for folder in ("gone", "bare"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=folder):
            read_empty(tmp_path / folder)
