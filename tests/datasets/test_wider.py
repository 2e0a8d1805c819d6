"""WIDER FACE."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.datasets.public_sets import read_wider
from facekit.errors import DataError
from tests.datasets.face_sets import write_wider
from tests.datasets.reports import faces, fail

BOX = [10, 20, 30, 40]
CLEAR, HALF, HEAVY = (BOX, 0), (BOX, 1), (BOX, 2)
EVENTS = {
    "2--Demonstration": {"2_one": [CLEAR], "2_hidden": [HALF, CLEAR, HEAVY], "2_none": []},
    "4--Dancing": {"4_three": [CLEAR] * 3 + [HALF] * 9, "4_four": [CLEAR] * 4},
    "12--Group": {"12_one": [CLEAR]},
    "33--Running": {"33_only_hidden": [HEAVY], "33_one": [([1, 2, 3, 4], 0)]},
}


def test_wider_rules(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS)
    clear, hidden = ("No-Mask", (10, 20, 40, 60)), ("DontCare", (10, 20, 40, 60))
    found = read_wider(tmp_path, fail, evaluation=False)
    assert faces(found) == {
        "2_hidden": [hidden, clear, hidden],
        "2_one": [clear],
        "33_one": [("No-Mask", (1, 2, 4, 6))],
        "4_three": [clear] * 3 + [hidden] * 9,
    }
    assert all(photo.photo.is_file() for photo in found)


def test_wider_options(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS, part="val")
    every = read_wider(tmp_path, fail, evaluation=True, events=None)
    assert {photo.name for photo in every} >= {"12_one", "2_one"}
    some = read_wider(tmp_path, fail, evaluation=True, events=("4--Dancing",), most_faces=4)
    assert [photo.name for photo in some] == ["4_four", "4_three"]
    # An event that only contains the name of a picked one is not picked.
    assert read_wider(tmp_path, fail, evaluation=True, events=("2--Group",)) == []


def test_missing_folders_of_wider_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"WIDER_train/images: no such folder"):
        read_wider(tmp_path, fail, evaluation=False)
    (tmp_path / "WIDER_train" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"wider_face_train_bbx_gt.txt: no such file"):
        read_wider(tmp_path, fail, evaluation=False)
