"""MAFA, in structs as its own label files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from facekit.datasets.public_sets import read_mafa
from facekit.errors import DataError
from tests.datasets.face_sets import (
    mafa_test_row,
    mafa_train_row,
    write_mafa,
)
from tests.datasets.reports import Reports, faces, fail


def test_mafa_training_rules(tmp_path: Path) -> None:
    rows = [
        mafa_train_row([10, 20, 30, 40], 1, 3),
        mafa_train_row([11, 21, 30, 40], 2, 3),
        mafa_train_row([12, 22, 30, 40], 3, 1),
        mafa_train_row([13, 23, 30, 40], 3, 2),
        mafa_train_row([14, 24, 30, 40], 3, 3),
        mafa_train_row([15, 25, 30, 40], 1, 2),
    ]
    write_mafa(tmp_path, {"train_00000002.jpg": rows, "train_00000001.jpg": rows[2:3]})
    found = read_mafa(tmp_path, fail, evaluation=False)
    assert [photo.name for photo in found] == ["train_00000001", "train_00000002"]
    assert faces(found)["train_00000002"] == [
        ("Mask", (10, 20, 40, 60)),
        ("Mask", (11, 21, 41, 61)),
        ("No-Mask", (12, 22, 42, 62)),
        ("DontCare", (13, 23, 43, 63)),
        ("DontCare", (14, 24, 44, 64)),
        ("DontCare", (15, 25, 45, 65)),
    ]
    assert all(photo.wide_only for photo in found)
    assert not read_mafa(tmp_path, fail, evaluation=False, wide_only=False)[0].wide_only


def test_mafa_evaluation_rules(tmp_path: Path) -> None:
    rows = [
        mafa_test_row([10, 20, 30, 40], 1, 1, 3),
        mafa_test_row([11, 21, 30, 40], 1, 3, 3),
        mafa_test_row([12, 22, 30, 40], 1, 1, 2),
        mafa_test_row([13, 23, 30, 40], 2, 1, 3),
        mafa_test_row([14, 24, 30, 40], 3, 1, 3),
    ]
    write_mafa(tmp_path, {"test_00000001.jpg": rows}, test=True)
    assert faces(read_mafa(tmp_path, fail, evaluation=True)) == {
        "test_00000001": [
            ("Mask", (10, 20, 40, 60)),
            ("DontCare", (11, 21, 41, 61)),
            ("DontCare", (12, 22, 42, 62)),
            ("No-Mask", (13, 23, 43, 63)),
            ("DontCare", (14, 24, 44, 64)),
        ]
    }


def test_mafa_fixtures_nest_as_the_real_files(tmp_path: Path) -> None:
    row = mafa_train_row([10, 20, 30, 40], 1, 3)
    write_mafa(tmp_path, {"train_00000001.jpg": [row, row], "train_00000002.jpg": [row]})
    data = loadmat(tmp_path / "MAFA-Label-Train" / "LabelTrainAll.mat")
    assert len(data["label_train"][0]) == 2
    assert str(data["label_train"][0][0][1]) == "['train_00000001.jpg']"
    assert data["label_train"][0][0][2][1][12] == 1 and data["label_train"][0][1][2][0][13] == 3
    write_mafa(tmp_path, {"test_1.jpg": [mafa_test_row([1, 2, 3, 4], 2, 1, 3)]}, test=True)
    data = loadmat(tmp_path / "MAFA-Label-Test" / "LabelTestAll.mat")
    assert str(data["LabelTest"][0][0][0]) == "['test_1.jpg']"
    assert [data["LabelTest"][0][0][1][0][column] for column in (4, 9, 10)] == [2, 1, 3]


def test_problems_of_mafa_entries_are_reported_with_their_number(tmp_path: Path) -> None:
    good = mafa_train_row([10, 20, 30, 40], 1, 3)
    names = [f"train_{number}.jpg" for number in range(6)]
    write_mafa(tmp_path, {name: [good] for name in names})
    path = tmp_path / "MAFA-Label-Train" / "LabelTrainAll.mat"
    entries = loadmat(path)["label_train"]
    entries[0, 1]["label"] = np.array([[1.0, 2.0, 3.0]])
    entries[0, 2]["imgName"] = np.array([[5.0]])
    entries[0, 3]["label"] = np.array(["words"])
    entries[0, 4]["label"] = np.array([mafa_train_row([10, 20, 0, 40], 1, 3), good])
    entries[0, 5]["imgName"] = "../train_0.jpg"
    savemat(path, {"label_train": entries})
    reports = Reports()
    found = faces(read_mafa(tmp_path, reports.append, evaluation=False))
    assert found == {name: [("Mask", (10, 20, 40, 60))] for name in ("train_0", "train_4")}
    assert reports.texts(path.parent) == [
        "LabelTrainAll.mat:2: an entry that can't be read: 3 columns, expected at least 14",
        "LabelTrainAll.mat:3: an entry that can't be read: no text where a name should be",
        "LabelTrainAll.mat:4: an entry that can't be read: "
        "no matrix of numbers where faces should be",
        "LabelTrainAll.mat:5: an empty box: 10, 20, 10, 60",
        "LabelTrainAll.mat:6: a photo outside the set: ../train_0.jpg",
    ]


def test_an_empty_box_of_a_face_that_is_left_out_anyway_is_no_loss(tmp_path: Path) -> None:
    rows = [mafa_train_row([10, 20, 0, 40], 1, 2), mafa_train_row([10, 20, 30, 40], 1, 3)]
    write_mafa(tmp_path, {"train_1.jpg": rows})
    found = read_mafa(tmp_path, fail, evaluation=False)
    assert faces(found) == {"train_1": [("Mask", (10, 20, 40, 60))]}


def test_a_mafa_photo_without_faces_is_no_photo_without_faces(tmp_path: Path) -> None:
    write_mafa(tmp_path, {"train_1.jpg": [], "train_2.jpg": [mafa_train_row([1, 2, 3, 4], 1, 3)]})
    assert [photo.wanted for photo in read_mafa(tmp_path, fail, evaluation=False)] == [False, True]


def test_matlab_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_mafa(tmp_path, {"train_1.jpg": []})
    path = tmp_path / "MAFA-Label-Train" / "LabelTrainAll.mat"
    savemat(path, {"something": 1})
    with pytest.raises(DataError, match=r"LabelTrainAll.mat: contains no variable label_train"):
        read_mafa(tmp_path, fail, evaluation=False)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"All.mat: (is not a MATLAB file|contains no var)"):
        read_mafa(tmp_path, fail, evaluation=False)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(DataError, match=r"LabelTrainAll.mat: is of MATLAB 7.3"):
        read_mafa(tmp_path, fail, evaluation=False)
    path.unlink()
    with pytest.raises(DataError, match=r"LabelTrainAll.mat: no such file"):
        read_mafa(tmp_path, fail, evaluation=False)
    with pytest.raises(DataError, match=r"test-images/images: no such folder"):
        read_mafa(tmp_path, fail, evaluation=True)
