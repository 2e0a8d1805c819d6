"""WIDER FACE, in text lists and in cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from facekit.datasets.public_sets import read_wider
from facekit.errors import DataError
from tests.datasets.face_sets import (
    wider_variables,
    write_wider,
)
from tests.datasets.reports import Reports, faces, fail

BOX = [10, 20, 30, 40]
CLEAR, HALF, HEAVY = (BOX, 0), (BOX, 1), (BOX, 2)
EVENTS = {
    "2--Demonstration": {"2_one": [CLEAR], "2_hidden": [HALF, CLEAR, HEAVY], "2_none": []},
    "4--Dancing": {"4_three": [CLEAR] * 3 + [HALF] * 9, "4_four": [CLEAR] * 4},
    "12--Group": {"12_one": [CLEAR]},
    "33--Running": {"33_only_hidden": [HEAVY], "33_one": [([1, 2, 3, 4], 0)]},
}


@pytest.mark.parametrize("kind", ["matlab", "text", "both"])
def test_wider_rules(tmp_path: Path, kind: str) -> None:
    write_wider(tmp_path, EVENTS, matlab=kind != "text", text=kind != "matlab")
    clear, hidden = ("No-Mask", (10, 20, 40, 60)), ("DontCare", (10, 20, 40, 60))
    found = read_wider(tmp_path, fail, evaluation=False)
    assert faces(found) == {
        "2_hidden": [hidden, clear, hidden],
        "2_one": [clear],
        "33_one": [("No-Mask", (1, 2, 4, 6))],
        "4_three": [clear] * 3 + [hidden] * 9,
    }
    assert all(photo.photo.is_file() for photo in found)


def test_both_kinds_of_wider_labels_say_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    events = {
        f"{event}--Event": {
            f"{event}_{number}": [
                (rng.integers(1, 90, 4).tolist(), int(rng.integers(0, 3)))
                for _ in range(rng.integers(0, 6))
            ]
            for number in range(5)
        }
        for event in range(4)
    }
    for kind in ("matlab", "text"):
        write_wider(tmp_path / kind, events, matlab=kind == "matlab", text=kind == "text")
    matlab, text = (
        read_wider(tmp_path / kind, fail, evaluation=False, events=None, most_faces=9)
        for kind in ("matlab", "text")
    )
    assert faces(matlab) == faces(text) and len(matlab) > 8


def test_wider_options(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS, part="val", matlab=False, text=True)
    every = read_wider(tmp_path, fail, evaluation=True, events=None)
    assert {photo.name for photo in every} >= {"12_one", "2_one"}
    some = read_wider(tmp_path, fail, evaluation=True, events=("4--Dancing",), most_faces=4)
    assert [photo.name for photo in some] == ["4_four", "4_three"]
    # An event that only contains the name of a picked one is not picked.
    assert read_wider(tmp_path, fail, evaluation=True, events=("2--Group",)) == []


def test_wider_fixtures_nest_as_the_real_files(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS, matlab=True, text=False)
    data = loadmat(tmp_path / "wider_face_split" / "wider_face_train.mat")
    assert data["event_list"][1][0][0] == "4--Dancing"
    assert data["file_list"][1][0][0][0][0] == "4_three"
    assert data["face_bbx_list"][1][0][0][0].shape == (12, 4)
    assert data["occlusion_label_list"][1][0][0][0].shape == (12, 1)
    assert data["occlusion_label_list"][1][0][0][0][3][0] == 1


def _break_box(variables: dict[str, np.ndarray]) -> None:
    variables["face_bbx_list"][0, 0][0, 0] = np.array([[10.0, 20.0, 0.0, 40.0]])


def _break_length(variables: dict[str, np.ndarray]) -> None:
    variables["occlusion_label_list"][0, 0][0, 0] = np.zeros((2, 1))


def _break_name(variables: dict[str, np.ndarray]) -> None:
    variables["file_list"][0, 0][0, 0] = "../../../a"


def _break_columns(variables: dict[str, np.ndarray]) -> None:
    variables["face_bbx_list"][0, 0][0, 0] = np.ones((1, 3))


def _break_event(variables: dict[str, np.ndarray]) -> None:
    variables["file_list"][0, 0] = variables["file_list"][0, 0][:0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_break_box, ":1: an empty box: 10, 20, 10, 60"),
        (
            _break_length,
            ":1: a photo of 22--Picnic can't be read: 1 boxes, but 2 labels of o",
        ),
        (_break_name, ":1: a photo of 22--Picnic can't be read: it lies outside the set"),
        (_break_columns, ":1: a photo of 22--Picnic can't be read: 3 columns, expected"),
        (_break_event, ": event 1 can't be read: lists of different length"),
    ],
)
def test_problems_of_wider_cells_are_reported(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], expected: str
) -> None:
    events = {"22--Picnic": {"bad": [CLEAR]}, "23--Shoppers": {"good": [CLEAR]}}
    write_wider(tmp_path, events, matlab=False, text=False)
    variables = wider_variables(events)
    change(variables)
    path = tmp_path / "wider_face_split" / "wider_face_train.mat"
    savemat(path, variables)
    reports = Reports()
    found = read_wider(tmp_path, reports.append, evaluation=False)
    assert [photo.name for photo in found if photo.wanted] == ["good"]
    assert len(reports) == 1 and str(reports[0]).startswith(f"{path}{expected}")


def test_missing_folders_of_wider_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"WIDER_train/images: no such folder"):
        read_wider(tmp_path, fail, evaluation=False)
    (tmp_path / "WIDER_train" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train.mat: no such file, nor wider_face_train_bbx_gt"):
        read_wider(tmp_path, fail, evaluation=False)
