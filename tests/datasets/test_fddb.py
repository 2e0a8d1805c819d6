"""FDDB, in lists of ellipses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from facekit.datasets.public_sets import ellipse_box, read_fddb
from facekit.errors import DataError
from tests.datasets.face_sets import (
    write_fddb,
)
from tests.datasets.reports import Reports, faces, fail


def test_an_ellipse_touches_its_box() -> None:
    rng = np.random.default_rng(1)
    turn = np.linspace(0, 2 * np.pi, 100_001)
    for _ in range(20):
        major, minor, angle, x, y = rng.uniform([20, 5, -np.pi, -9, 9], [90, 60, np.pi, 300, 400])
        along, across = major * np.cos(turn), minor * np.sin(turn)
        xs = x + along * np.cos(angle) - across * np.sin(angle)
        ys = y + along * np.sin(angle) + across * np.cos(angle)
        expected = (xs.min(), ys.min(), xs.max(), ys.max())
        np.testing.assert_allclose(ellipse_box(major, minor, angle, x, y), expected, atol=1e-4)


def test_an_ellipse_is_not_boxed_as_its_turned_rectangle() -> None:
    box = ellipse_box(40, 30, math.pi / 4, 100, 100)
    half = math.sqrt((40**2 + 30**2) / 2)
    np.testing.assert_allclose(box, (100 - half, 100 - half, 100 + half, 100 + half))
    assert half < (40 + 30) / math.sqrt(2)


def test_fddb_counts_faces_and_tells_photos_of_one_name_apart(tmp_path: Path) -> None:
    upright, lying = [40, 20, math.pi / 2, 100, 50], [40, 20, 0, 60, 30]
    folds = [
        {"2002/08/11/big/img_591": [upright, lying], "2002/08/26/big/img_591": [upright]},
        {"2003/01/02/big/img_7": [lying]},
    ]
    write_fddb(tmp_path, folds)
    found = read_fddb(tmp_path, fail)
    assert [photo.name for photo in found] == [name for fold in folds for name in fold]
    assert all(photo.photo.is_file() for photo in found)
    for (class_name, box), expected in zip(
        faces(found)["2002/08/11/big/img_591"], [(80, 10, 120, 90), (20, 10, 100, 50)], strict=True
    ):
        assert class_name == "No-Mask"
        np.testing.assert_allclose(box, expected, atol=1e-4)


def test_fddb_as_it_is_packed(tmp_path: Path) -> None:
    write_fddb(tmp_path, [{"2002/08/11/big/img_1": [[40, 20, 0, 60, 30]]}])
    (tmp_path / "originalPics").mkdir()
    (tmp_path / "2002").rename(tmp_path / "originalPics" / "2002")
    assert all(photo.photo.is_file() for photo in read_fddb(tmp_path, fail))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2002/a\n1\n40 20 x 60 30 1\n", "3: expected numbers, got '40 20 x 60 30 1'"),
        ("2002/a\n1\n40 20 0\n", "3: 3 numbers, expected at least 5"),
        ("2002/a\n1\n40 20 nan 60 30 1\n", "3: a number that is not finite: '40 20 nan 60 30 1'"),
        ("2002/a\n1\n40 -20 0 60 30 1\n", "3: an empty box: 60, 30, 60, 30"),
        ("2002/a\nmany\n", "2: expected the number of faces, got 'many'"),
        ("2002/a\n2\n40 20 0 60 30 1\n", "2: 2002/a has 2 faces, but 1 lines of faces"),
        ("2002/a\n1\n40 20 0 6 3 1\n1 1 1 1 1 1\n", "2: 2002/a has 1 faces, but 2 lines of faces"),
        ("2002/a\n", "1: 2002/a has no number of faces"),
        ("40 20 0 60 30 1\n", "1: expected the name of a photo"),
        ("../../a\n1\n40 20 0 60 30 1\n", "1: a photo outside the set: ../../a"),
    ],
)
def test_problems_of_lists_are_reported_with_their_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    write_fddb(tmp_path, [{"2002/a": []}])
    path = tmp_path / "FDDB-folds" / "FDDB-fold-01-ellipseList.txt"
    path.write_text(text + "2002/b\n1\n40 20 0 60 30 1\n")
    reports = Reports()
    found = [photo for photo in read_fddb(tmp_path, reports.append) if photo.wanted]
    assert faces(found) == {"2002/b": [("No-Mask", (20, 10, 100, 50))]}
    assert reports.texts(path.parent) == [f"{path.name}:{expected}"]


def test_a_year_that_is_missing_is_found_at_once(tmp_path: Path) -> None:
    ellipse = [40, 20, 0, 60, 30]
    write_fddb(tmp_path, [{"2002/a": [ellipse], "2003/b": [ellipse]}])
    (tmp_path / "2003").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError) as caught:
        read_fddb(tmp_path, fail)
    assert str(caught.value) == f"{tmp_path / '2003'}: no such folder"
