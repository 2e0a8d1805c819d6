"""Portraits with landmarks, and photos without faces."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from facekit.datasets.portraits import portrait_window, read_empty, read_portraits
from facekit.errors import DataError
from tests.datasets.face_sets import (
    box_points,
    write_photo,
    write_pts,
)
from tests.datasets.reports import Reports, faces, fail


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
    assert [region[0::2] for region in one.unlabelled_xyxy] == [
        (-math.inf, 87.5),
        (162.5, math.inf),
    ]


def test_windows_stay_in_their_range_and_hold_the_face() -> None:
    face = np.array([200, 100, 260, 180], np.float32)
    heights, aspects = [], []
    for number in range(300):
        left, top, right, bottom = portrait_window(f"{number}_1", face)
        assert left <= 200 and top <= 100 and right >= 260 and bottom >= 180
        heights.append((bottom - top) / 80)
        aspects.append((right - left) / (bottom - top))
    assert 1.5 <= min(heights) < 1.6 and 2.4 < max(heights) <= 2.5
    assert 2 / 3 <= min(aspects) < 0.7 and 1.3 < max(aspects) <= 4 / 3 + 1e-9
    assert portrait_window("7_1", face) == portrait_window("7_1", face)


def test_a_portrait_whose_points_cannot_be_read_is_reported(tmp_path: Path) -> None:
    write_photo(tmp_path / "one.jpg")
    (tmp_path / "one_1.pts").write_text("nothing")
    write_pts(tmp_path / "lost_1.pts", box_points(1, 2, 3, 4))
    reports = Reports()
    assert read_portraits(tmp_path, reports.append) == []
    assert [error.path.name for error in reports] == ["lost_1.pts", "one_1.pts"]


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
