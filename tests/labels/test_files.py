"""Readers of single label files: KITTI, VOC and COCO."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.errors import DataError
from facekit.labels.coco import read_coco
from facekit.labels.kitti import kitti_line, read_kitti, written_box
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


@pytest.mark.parametrize("box", [(1, 2, 1.004, 4), (1, 2, 3, 2.004), (3, 2, 1, 4)])
def test_a_box_that_could_not_be_read_back_is_not_written(box: tuple[float, ...]) -> None:
    assert written_box(box) is None
    with pytest.raises(ValueError, match="a box without area"):
        kitti_line("Mask", box)
    assert written_box((1, 2, 1.006, 4)) == (1, 2, 1.01, 4)


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
    assert (found.class_names, found.size_wh, found.lines) == (("dog", "cat"), (100, 50), (3, 7))
    np.testing.assert_array_equal(found.boxes_xyxy, [[0, 1, 20, 50], [5, 1, 20, 6]])
    assert found.ignored.tolist() == [True, False]
    assert [str(problem) for problem in problems] == [
        f"{path}:5: object 2 has an empty box [9.0, 8.0, 7.0, 9.0]"
    ]
    with pytest.raises(DataError, match="a.xml:5: object 2"):
        read_voc(path, None)
    with pytest.raises(DataError, match="a.xml:3: unknown class 'dog', expected one of with_mask"):
        read_voc(path)


def test_parts_of_an_object_are_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    part = "<object><name>head</name><bndbox><xmin>1</xmin></bndbox></object>"
    name = "<annotation><filename>C:\\photos\\a b.jpg</filename>"
    text = VOC.replace("<name>cat", f"{part}<name>cat").replace("<annotation>", name)
    path.write_text(text)
    found = read_voc(path, None, lambda error: None)
    assert (found.class_names, found.photo_name) == (("dog", "cat"), "a b.jpg")


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
    found = read_coco(path)
    assert found.photo_names == {"a.jpg", "sub/b.jpg"}
    first, second = found.labels
    assert isinstance(first, PhotoLabels) and isinstance(second, PhotoLabels)
    assert (first.photo, first.size_wh) == (tmp_path / "a.jpg", (64, 48))
    assert first.class_names == ("mask", "no-mask") and first.ignored.tolist() == [False, True]
    np.testing.assert_array_equal(first.boxes_xyxy, [[10, 20, 15.5, 26], [0, 0, 9, 9]])
    points, none = first.points_xy
    np.testing.assert_array_equal(points, [[11, 21], [12, 22], [np.nan, np.nan]])
    assert none is None
    assert (second.photo, second.size_wh) == (tmp_path / "sub" / "b.jpg", None)
    assert len(second) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "bbox of annotations[0] of a.jpg: expected 4 numbers, got [1, 2, 3]"),
        (
            {"bbox": [1, 2, "3", 4]},
            "bbox of annotations[0] of a.jpg: not coordinates",
        ),
        (
            {"bbox": [1, 2, True, 4]},
            "bbox of annotations[0] of a.jpg: not coordinates",
        ),
        (
            {"bbox": [1, 2, math.nan, 4]},
            "bbox of annotations[0] of a.jpg: not coordinates",
        ),
        (
            {"bbox": [1, 2, 10**400, 4]},
            "bbox of annotations[0] of a.jpg: not coordinates",
        ),
        (
            {"bbox": [1, -1e39, 3, 4]},
            "bbox of annotations[0] of a.jpg: not coordinates",
        ),
        ({"bbox": None}, "bbox of annotations[0] of a.jpg: expected 4 numbers, got None"),
        ({"bbox": [1, 2, 0, 4]}, "annotations[0] of a.jpg has an empty box"),
        ({"category_id": 9}, "annotations[0] of a.jpg is of category 9, not listed"),
        ({"category_id": [3]}, "annotations[0] of a.jpg is of category [3], not listed"),
        ({"iscrowd": "no"}, "iscrowd of annotations[0] of a.jpg: expected 0 or 1"),
        ({"keypoints": [1, 2]}, "keypoints of annotations[0] of a.jpg: not a list of x, y"),
        ({"keypoints": 7}, "keypoints of annotations[0] of a.jpg: not a list of x, y"),
    ],
)
def test_a_malformed_annotation_spoils_its_photo_alone(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(coco(**changes)))
    first, second = read_coco(path).labels
    assert isinstance(first, DataError) and isinstance(second, PhotoLabels)
    assert str(first).startswith(f"{path}: {reason}")


@pytest.mark.parametrize("entry", [5, {}, {"image_id": None}, {"image_id": [1]}, {"image_id": 77}])
def test_an_annotation_of_no_photo_spoils_none(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "labels.json"
    content = coco()
    content["annotations"].insert(1, entry)
    path.write_text(json.dumps(content))
    first, second, wrong = read_coco(path).labels
    assert isinstance(first, PhotoLabels) and len(first) == 2 and isinstance(second, PhotoLabels)
    expected = "is of image 77, not listed" if entry == {"image_id": 77} else "has no image_id"
    assert str(wrong).startswith(f"{path}: annotations[1] {expected}")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (5, "images[0] has no id"),
        ({"file_name": "c.jpg"}, "images[0] has no id"),
        ({"id": [5], "file_name": "c.jpg"}, "images[0] has no id"),
        ({"id": 5}, "images[0] has no file_name"),
        ({"id": 5, "file_name": 7}, "images[0] has no file_name"),
    ],
)
def test_a_malformed_image_spoils_no_other(tmp_path: Path, entry: Any, reason: str) -> None:
    path = tmp_path / "labels.json"
    content = coco()
    content["images"].insert(0, entry)
    content["annotations"].append({"image_id": 5})
    path.write_text(json.dumps(content))
    first, second, *wrong = read_coco(path).labels
    assert isinstance(first, PhotoLabels) and isinstance(second, PhotoLabels)
    assert str(wrong[0]).startswith(f"{path}: {reason}")
    # The image's own annotation is known where the image has an id.
    assert len(wrong) == (1 if "file_name" in reason else 2)


def test_two_photos_of_one_id_are_both_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    content = coco()
    content["images"].append({"id": 1, "file_name": "c.jpg"})
    path.write_text(json.dumps(content))
    kept, wrong = read_coco(path).labels
    assert isinstance(kept, PhotoLabels) and kept.photo == tmp_path / "sub" / "b.jpg"
    assert str(wrong) == f"{path}: images[0] and images[2] have one id, 1"
    # A photo that is listed twice would be measured twice, each time against half of its faces.
    content["images"][2] = {"id": 9, "file_name": "a.jpg"}
    path.write_text(json.dumps(content))
    first, kept, second = read_coco(path).labels
    assert str(first) == f"{path}: images[0] is one of 2 of a.jpg"
    assert isinstance(kept, PhotoLabels)
    assert str(second) == f"{path}: images[2] is one of 2 of a.jpg"


def test_a_malformed_category_spoils_the_photos_with_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    content = coco(category_id=4)
    content["categories"] = [{"name": "x"}, content["categories"][1]]
    path.write_text(json.dumps(content))
    first, _, wrong = read_coco(path).labels
    assert isinstance(first, PhotoLabels)
    assert str(wrong) == f"{path}: categories[0] has no id that is a number or a text"
    content["categories"] = [{"id": 4, "name": "a"}, {"id": 4, "name": "b"}]
    path.write_text(json.dumps(content))
    first, _, wrong = read_coco(path).labels
    assert str(first) == f"{path}: annotations[0] of a.jpg is of category 4, not listed"
    assert str(wrong) == f"{path}: categories[0] and categories[1] have one id, 4"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n"images": [}', ":2: is not a COCO file"),
        ("[]", ": is not a COCO file"),
        ('{"images": []}', ": is not a COCO file"),
        ('{"images": [], "annotations": 5, "categories": []}', ": is not laid out as COCO"),
        (
            # Its boxes are left, top, right, bottom; read as x, y, width, height all are wrong.
            '{"images": [], "categories": [], "annotations": [{"segmentation": [[1, 2], [3, 4]]}]}',
            ": its segmentation is a list of x, y pairs",
        ),
        ("[" * 200_000, ": is not JSON that can be read"),
        ("[1" + "0" * 5000 + "]", ": is not JSON that can be read"),
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
