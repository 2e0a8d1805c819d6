"""WIDER FACE's labels and subsets, in the formats and folders that they are published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from facekit.errors import DataError
from facekit.labels.folder import find_labels, select
from facekit.labels.photo_labels import PhotoLabels
from facekit.labels.wider import photo_key, subsets_of
from tests.datasets.face_sets import wider_variables, write_photo, write_wider
from tests.labels.wider_subsets import write_subsets

EVENTS = {
    "0--Parade": {
        "0_Parade_1": [([10, 20, 30, 40], 0), ([50, 20, 30, 40], 1)],
        "0_Parade_2": [],
    },
    "2--Demo": {"2_Demo_1": [([1, 2, 3, 4], 0)]},
}


def labels(path: Path) -> list[PhotoLabels]:
    found = find_labels(path)
    assert not [entry for entry in found if isinstance(entry, DataError)]
    return [entry for entry in found if isinstance(entry, PhotoLabels)]


@pytest.mark.parametrize("kind", ["matlab", "text"])
@pytest.mark.parametrize(
    "path", ["", "WIDER_val", "wider_face_split", "wider_face_split/wider_face_val{}"]
)
def test_the_set_and_its_parts_are_known_by_name(tmp_path: Path, kind: str, path: str) -> None:
    write_wider(tmp_path, EVENTS, part="val", matlab=kind == "matlab", text=kind == "text")
    found = labels(tmp_path / path.format(".mat" if kind == "matlab" else "_bbx_gt.txt"))
    assert [photo_key(entry.photo or tmp_path) for entry in found] == [
        "0--Parade/0_Parade_1", "0--Parade/0_Parade_2", "2--Demo/2_Demo_1"
    ]  # fmt: skip
    assert all(entry.photo is not None and entry.photo.is_file() for entry in found)
    np.testing.assert_array_equal(found[0].boxes_xyxy, [[10, 20, 40, 60], [50, 20, 80, 60]])
    assert found[0].class_names == ("face", "face") and len(found[1]) == 0


def test_train_is_read_by_its_folder(tmp_path: Path) -> None:
    write_wider(tmp_path, {"2--Demo": EVENTS["2--Demo"]}, matlab=False, text=True)
    (found,) = labels(tmp_path / "WIDER_train")
    assert found.source.name == "wider_face_train_bbx_gt.txt"
    with pytest.raises(DataError, match=r"wider_face_val.mat: no such file, nor wider_face_val_bb"):
        find_labels(tmp_path)


def test_invalid_faces_and_those_without_area_are_ignored(tmp_path: Path) -> None:
    write_photo(tmp_path / "WIDER_val" / "images" / "a" / "b.jpg")
    rows = ["1 2 3 4 0 0 0 0 0 0", "1 2 3 4 0 0 0 1 0 0", "1 2 0 4 0 0 0 0 0 0"]
    listed = tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    listed.parent.mkdir()
    listed.write_text("\n".join(["a/b.jpg", "3", *rows]))
    (text,) = labels(tmp_path)
    assert text.ignored.tolist() == [False, True, True]
    listed.unlink()
    variables = wider_variables({"a": {"b": [([1, 2, 3, 4], 0), ([1, 2, 3, 4], 0)]}})
    variables["invalid_label_list"][0, 0][0, 0] = np.array([[1], [0]], np.uint8)
    savemat(listed.with_name("wider_face_val.mat"), variables)
    (matlab,) = labels(tmp_path)
    assert matlab.ignored.tolist() == [True, False]


def test_missing_photos_and_those_without_labels_are_told(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS, part="val", matlab=False, text=True)
    images = tmp_path / "WIDER_val" / "images"
    (images / "2--Demo" / "2_Demo_1.jpg").unlink()
    other = write_photo(images / "0--Parade" / "more.jpg")
    unlabeled: list[Path] = []
    found = find_labels(tmp_path, None, unlabeled.append)
    assert unlabeled == [other]
    errors = [entry for entry in found if isinstance(entry, DataError)]
    assert [str(error) for error in errors] == [
        f"{tmp_path}/wider_face_split/wider_face_val_bbx_gt.txt:10: no photo "
        f"2--Demo/2_Demo_1.jpg in {images}"
    ]
    # The list is of many photos: what is wrong in it is told whichever of them are chosen.
    assert select(found, split="evaluation").errors == errors
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(DataError, match="elsewhere: no such folder"):
        find_labels(tmp_path, elsewhere)
    images.rename(elsewhere)
    assert len(find_labels(tmp_path, elsewhere)) == 3
    with pytest.raises(DataError, match="WIDER_val/images: no such folder"):
        find_labels(tmp_path)


COUNTED = {
    "easy": {"0--Parade/0_Parade_1": [1]},
    "hard": {"0--Parade/0_Parade_1": [1, 2], "2--Demo/2_Demo_1": [1]},
}


@pytest.mark.parametrize("folder", ["wider_face_split", "ground_truth", "eval_tools/ground_truth"])
def test_subsets_are_found_where_the_tools_lie(tmp_path: Path, folder: str) -> None:
    write_wider(tmp_path, EVENTS, part="val", matlab=False, text=True)
    assert subsets_of(tmp_path / "WIDER_val") is None
    write_subsets(tmp_path / folder, EVENTS, COUNTED)
    found = subsets_of(tmp_path / "WIDER_val")
    assert found is not None and list(found.counted) == ["easy", "hard"]
    np.testing.assert_array_equal(
        found.boxes_xywh["0--Parade/0_Parade_1"], [[10, 20, 30, 40], [50, 20, 30, 40]]
    )
    # A photo without faces has one of zeros in the file; its boxes are false ones.
    np.testing.assert_array_equal(found.boxes_xywh["0--Parade/0_Parade_2"], [[0, 0, 0, 0]])
    easy = {name: counted.tolist() for name, counted in found.counted["easy"].items()}
    assert easy == {
        "0--Parade/0_Parade_1": [True, False],
        "0--Parade/0_Parade_2": [False],
        "2--Demo/2_Demo_1": [False],
    }
    assert subsets_of(tmp_path / "WIDER_val" / "images") is None


def test_subsets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_wider(tmp_path, EVENTS, part="val", matlab=False, text=True)
    folder = tmp_path / "ground_truth"
    write_subsets(folder, EVENTS, {"easy": {"2--Demo/2_Demo_1": [2]}})
    with pytest.raises(DataError, match=r"val.mat:3: 2--Demo/2_Demo_1 and its subsets: a subset"):
        subsets_of(tmp_path)
    write_subsets(folder, {"2--Demo": EVENTS["2--Demo"]}, {"easy": {}}, whole=False)
    with pytest.raises(DataError, match=r"val.mat: event 1 can't be read: lists of different"):
        subsets_of(tmp_path)
    (folder / "wider_face_val.mat").unlink()
    with pytest.raises(DataError, match="wider_face_split/wider_face_val.mat: no such file"):
        subsets_of(tmp_path)
