"""Readers of single label files: KITTI, VOC and COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.errors import DataError
from facekit.labels.coco import read_coco
from facekit.labels.kitti import kitti_line, read_kitti
from facekit.labels.photo_labels import PhotoLabels
from facekit.labels.voc import read_voc

ROW = "Mask 0.00 0 0.0 10.50 20 30 40.25 0 0 0 0 0 0 0"


def test_kitti(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{ROW}\n\nDontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10 0.7\n")
    labels = read_kitti(path)
    assert labels.class_names == ("Mask", "DontCare") and len(labels) == 2
    np.testing.assert_array_equal(labels.boxes_xyxy, [[10.5, 20, 30, 40.25], [1, 2, 3, 4]])
    assert labels.boxes_xyxy.dtype == np.float32
    assert labels.ignored.tolist() == [False, True] and labels.points_xy == (None, None)
    path.write_text("")
    empty = read_kitti(path)
    assert len(empty) == 0 and empty.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Mask 0 0 0 1 2 3 4", ":2: 8 fields, expected 15 of KITTI"),
        (ROW.replace("20 30", "20 x"), ":2: a box that is not four numbers: 10.50 20 x 40.25"),
        (ROW.replace("20 30", "20 inf"), ":2: a box that is not finite"),
        (ROW.replace("20 30", "20 10.5"), ":2: an empty box: 10.50 20 10.5 40.25"),
    ],
)
def test_malformed_kitti_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{ROW}\n{row}\n")
    with pytest.raises(DataError) as caught:
        read_kitti(path)
    assert str(caught.value) == f"{path}{reason}"


def test_a_kitti_line_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(kitti_line("No-Mask", (0.125, -0.001, 7, 8.999)))
    assert path.read_text().split()[4:8] == ["0.12", "0.00", "7.00", "9.00"]
    assert len(path.read_text().split()) == 15
    np.testing.assert_allclose(read_kitti(path).boxes_xyxy, [[0.12, 0, 7, 9]], atol=1e-6)
    for name in ("no mask", ""):
        with pytest.raises(ValueError, match="one word"):
            kitti_line(name, (1, 2, 3, 4))


def test_labels_hold_together() -> None:
    boxes, path = np.zeros((2, 4), np.float32), Path("x")
    with pytest.raises(ValueError, match="1 class names"):
        PhotoLabels(None, None, boxes, ("a",), np.zeros(1, bool), (None,), path)
    with pytest.raises(ValueError, match="1 sets of points"):
        PhotoLabels(None, None, boxes, ("a", "b"), np.zeros(2, bool), (None,), path)


VOC = """<annotation>
  <size><width>100</width><height>50</height></size>
  <object><name>dog</name><difficult>1</difficult>
    <bndbox><xmin>-5</xmin><ymin>1</ymin><xmax>20</xmax><ymax>60</ymax></bndbox></object>
  <object><name>cat</name>
    <bndbox><xmin>9</xmin><ymin>8</ymin><xmax>7</xmax><ymax>9</ymax></bndbox></object>
  <object><name>cat</name>
    <bndbox><xmin>5</xmin><ymin>1</ymin><xmax>20</xmax><ymax>6</ymax></bndbox></object>
</annotation>
"""


def test_voc_of_any_class_and_what_is_wrong_with_one_box(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(VOC)
    problems: list[DataError] = []
    found = read_voc(path, None, problems.append)
    assert (found.labels, found.size, found.lines) == (("dog", "cat"), (100, 50), (3, 7))
    np.testing.assert_array_equal(found.boxes, [[0, 1, 20, 50], [5, 1, 20, 6]])
    assert found.difficult.tolist() == [True, False]
    assert [str(problem) for problem in problems] == [
        f"{path}:5: object 2 has an empty box [9.0, 8.0, 7.0, 9.0]"
    ]
    with pytest.raises(DataError, match="a.xml:5: object 2"):
        read_voc(path, None)
    with pytest.raises(DataError, match="a.xml:3: unknown class 'dog', expected one of with_mask"):
        read_voc(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<width>100", "<width>0", ": says the photo has 0 x 50 pixels"),
        ("<width>100", "<width>nan", ":2: <size/width> is not a number: 'nan'"),
        ("<height>50</height>", "", ":1: <annotation> has no <size/height>"),
        ("</annotation>", "", ":10: is not well-formed XML: no element found"),
    ],
)
def test_malformed_voc_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(VOC.replace(old, new))
    with pytest.raises(DataError) as caught:
        read_voc(path, None)
    assert str(caught.value) == f"{path}{reason}"


def coco(**changes: Any) -> dict[str, Any]:
    face: dict[str, Any] = {
        "id": 7,
        "image_id": 1,
        "category_id": 3,
        "bbox": [10, 20, 5.5, 6],
        "keypoints": [11, 21, 2, 12, 22, 1, 0, 0, 0],
    }
    crowd = {"id": 8, "image_id": 1, "category_id": 4, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48},
            {"id": 2, "file_name": "sub/b.jpg"},
        ],
        "categories": [{"id": 3, "name": "mask"}, {"id": 4, "name": "no-mask"}],
        "annotations": [{**face, **changes}, crowd],
    }


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(coco()))
    first, second = read_coco(path, tmp_path / "photos")
    assert isinstance(first, PhotoLabels) and isinstance(second, PhotoLabels)
    assert (first.photo, first.size_wh) == (tmp_path / "photos" / "a.jpg", (64, 48))
    assert first.class_names == ("mask", "no-mask") and first.ignored.tolist() == [False, True]
    np.testing.assert_array_equal(first.boxes_xyxy, [[10, 20, 15.5, 26], [0, 0, 9, 9]])
    points, none = first.points_xy
    np.testing.assert_array_equal(points, [[11, 21], [12, 22], [np.nan, np.nan]])
    assert none is None
    assert (second.photo, second.size_wh) == (tmp_path / "photos" / "sub" / "b.jpg", None)
    assert len(second) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [1, 2, 3]}, r"bbox of annotation 7 of a.jpg: expected 4 numbers"),
        ({"bbox": [1, 2, "3", 4]}, r"bbox of annotation 7 of a.jpg: something is not a finite"),
        ({"bbox": [1, 2, 0, 4]}, r"annotation 7 of a.jpg has an empty box"),
        ({"category_id": 9}, r"annotation 7 of a.jpg is of category 9, not listed"),
        ({"keypoints": [1, 2]}, r"keypoints of annotation 7 of a.jpg: not a list of x, y"),
    ],
)
def test_a_malformed_annotation_spoils_its_photo_alone(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(coco(**changes)))
    first, second = read_coco(path)
    assert isinstance(first, DataError) and isinstance(second, PhotoLabels)
    assert str(first).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n"images": [}', ":2: is not JSON"),
        ("[]", ": is no COCO file"),
        ('{"images": []}', ": is no COCO file"),
        ('{"images": [5], "annotations": [], "categories": []}', ": is not laid out as COCO"),
        ('{"images": [{}], "annotations": [], "categories": []}', ": an entry has no 'id'"),
        (json.dumps(coco(image_id=5)), ": annotation 7 is of image 5, not listed"),
    ],
)
def test_files_that_are_no_coco_are_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}{reason}")


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_kitti, read_voc, read_coco):
        with pytest.raises(DataError, match="gone: no such file"):
            read(tmp_path / "gone")  # type: ignore[operator]
