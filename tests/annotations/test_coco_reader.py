from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.annotations import Dataset, read_dataset, write_coco
from facekit.annotations.output import DESCRIPTION
from facekit.errors import DataError
from facekit.landmarks.scheme import point_names


def seeds_file(points: int = 80) -> dict[str, Any]:
    """A file as the notebook wrote it, whose boxes are left, top, right, bottom."""
    rng = np.random.default_rng(1)
    folder = "/volume1/photos"
    return {
        "images": [
            {
                "id": number,
                "height": 300,
                "width": 400,
                "channels": 1,
                "file_name": f"{folder}/{name}",
            }
            for number, name in enumerate(["a.jpg", "2019/b.jpg"])
        ],
        "annotations": [
            {
                "image_id": 1,
                "bbox": [10, 20, 110, 170],
                "rotation": float("nan"),
                "center": [60.0, 70.0],
                "category_id": 1,
                "segmentation": rng.uniform(0, 200, (points, 2)).tolist(),
            }
            for _ in range(2)
        ],
        "categories": [{"supercategory": "Face", "id": 1, "name": "Face"}],
    }


def persons_file() -> dict[str, Any]:
    """A file of COCO's own kind: persons with three points, one of them not labeled."""
    return {
        "images": [{"id": 12, "height": 300, "width": 400, "file_name": "a.jpg"}],
        "annotations": [
            {
                "id": 5,
                "image_id": 12,
                "bbox": [10, 20, 110, 170],
                "area": 1.0,
                "iscrowd": 0,
                "category_id": 3,
                "segmentation": [[1, 2, 3, 4, 5, 6]],
                "keypoints": [11, 12, 2, 0, 0, 0, 13, 14, 1],
                "num_keypoints": 2,
            },
            {
                "id": 6,
                "image_id": 12,
                "bbox": [0, 0, 9, 9],
                "area": 81,
                "iscrowd": 1,
                "category_id": 3,
            },
        ],
        "categories": [
            {
                "id": 3,
                "name": "person",
                "keypoints": ["nose", "left_eye", "right_eye"],
                "skeleton": [[1, 2], [1, 9], "x"],
            }
        ],
    }


def read(folder: Path, data: Any, *args: Any, **options: Any) -> Dataset:
    (folder / "in.json").write_text(json.dumps(data))
    return read_dataset(folder / "in.json", *args, **options)


def test_the_seeds_file_is_read_as_left_top_right_bottom(tmp_path: Path) -> None:
    data = seeds_file()
    dataset = read(tmp_path, data)
    assert [photo.record.photo for photo in dataset.photos] == ["a.jpg", "2019/b.jpg"]
    assert [photo.image_id for photo in dataset.photos] == [0, 1]
    assert dataset.info.photo_folder == "/volume1/photos"
    assert dataset.info.class_names == () and dataset.info.point_names == ()
    empty, faces = (photo.record.faces for photo in dataset.photos)
    assert empty is not None and len(empty) == 0
    assert faces is not None and faces.size_wh == (400, 300) and faces.channels == 1
    assert faces.boxes_xyxy.tolist() == [[10, 20, 110, 170]] * 2
    segmentation = [entry["segmentation"] for entry in data["annotations"]]
    np.testing.assert_allclose(faces.points_xy, segmentation, atol=6e-4)
    assert faces.scores.tolist() == [1, 1] and set(faces.point_scores.ravel()) == {1}


def test_another_cocos_boxes_are_x_y_width_height(tmp_path: Path) -> None:
    dataset = read(tmp_path, persons_file())
    (photo,) = dataset.photos
    faces = photo.record.faces
    assert faces is not None and photo.image_id == 12
    # The crowd is no single face.
    assert faces.boxes_xyxy.tolist() == [[10, 20, 120, 190]]
    assert faces.points_xy.tolist() == [[[11, 12], [0, 0], [13, 14]]]
    assert faces.point_scores.tolist() == [[1, 0, 1]] and faces.scores.tolist() == [1]
    assert faces.class_names == dataset.info.class_names == ("person",)
    assert dataset.info.point_names == ("nose", "left_eye", "right_eye")
    assert dataset.info.skeleton == ((0, 1),)
    assert dataset.info.photo_folder == str(tmp_path)


def test_a_sliver_does_not_spoil_the_file(tmp_path: Path) -> None:
    data = persons_file()
    data["annotations"][0]["bbox"] = [10, 20, 0.0, 170]
    dataset = read(tmp_path, data)
    write_coco(tmp_path / "out.json", lambda: iter(dataset.photos), dataset.info)
    (photo,) = read_dataset(tmp_path / "out.json").photos
    assert photo.record == dataset.photos[0].record
    assert photo.record.faces is not None
    assert photo.record.faces.boxes_xyxy.tolist() == [[10, 20, 10, 190]]
    data["annotations"][0]["bbox"] = [10, 20, -1, 170]
    with pytest.raises(DataError, match=r"annotations\[0\] has an empty box.*xywh"):
        read(tmp_path, data)


def test_a_file_of_windows_begins_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(persons_file()), encoding="utf-8-sig")
    assert len(read_dataset(tmp_path / "in.json").photos) == 1


def test_points_that_are_not_labeled_stay_so(tmp_path: Path) -> None:
    dataset = read(tmp_path, persons_file())
    write_coco(tmp_path / "out.json", lambda: iter(dataset.photos), dataset.info)
    data = json.loads((tmp_path / "out.json").read_bytes())
    (entry,) = data["annotations"]
    assert entry["keypoints"] == [11, 12, 2, 0, 0, 0, 13, 14, 2] and entry["num_keypoints"] == 2
    assert data["categories"][0]["keypoints"] == ["nose", "left_eye", "right_eye"]
    assert data["categories"][0]["skeleton"] == [[1, 2]]


def with_ids(data: dict[str, Any]) -> None:
    for number, entry in enumerate(data["annotations"]):
        entry["id"] = number


def without_points(data: dict[str, Any]) -> None:
    for entry in data["annotations"]:
        del entry["segmentation"]


def one_area(data: dict[str, Any]) -> None:
    data["annotations"][1]["area"] = 15000


@pytest.mark.parametrize("change", [with_ids, without_points, one_area])
def test_boxes_in_doubt_are_asked_for(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    data = seeds_file()
    change(data)
    with pytest.raises(DataError, match=r"can't be told whether .*--boxes xywh or --boxes ltrb"):
        read(tmp_path, data)
    for kind, box in (("ltrb", [10, 20, 110, 170]), ("xywh", [10, 20, 120, 190])):
        faces = read(tmp_path, data, boxes=kind).photos[1].record.faces
        assert faces is not None and faces.boxes_xyxy[0].tolist() == box


def one_face(bbox: list[int]) -> dict[str, Any]:
    """A file of a photo of 400 x 300 pixels with one face, of which ids and a box are known."""
    image = {"id": 1, "height": 300, "width": 400, "file_name": "a.jpg"}
    face = {"id": 1, "image_id": 1, "category_id": 1, "bbox": bbox}
    return {"images": [image], "annotations": [face], "categories": [{"id": 1, "name": "face"}]}


@pytest.mark.parametrize("bbox", [[300, 20, 390, 90], [30, 200, 90, 290]])
def test_boxes_that_fit_their_photos_only_the_other_way_are_asked_for(
    tmp_path: Path, bbox: list[int]
) -> None:
    data = one_face(bbox)
    with pytest.raises(DataError, match="1 of its boxes reach far beyond .* --boxes ltrb"):
        read(tmp_path, data)
    (x1, y1, x2, y2) = bbox
    for kind, expected in (("ltrb", bbox), ("xywh", [x1, y1, x1 + x2, y1 + y2])):
        faces = read(tmp_path, data, boxes=kind).photos[0].record.faces
        assert faces is not None and faces.boxes_xyxy.tolist() == [expected]
    # The kit's own files are told by more than their boxes.
    read(tmp_path, data | {"info": {"description": DESCRIPTION}})


@pytest.mark.parametrize(
    "others",
    [
        [],  # 440 = 1.1 * 400: a face at the border
        [[300, 20, 90, 90]],  # no ltrb: its right would be left of its left
        [[500, 20, 600, 90]],  # beyond the photo either way
    ],
)
def test_boxes_that_do_not_fit_the_other_way_are_x_y_width_height(
    tmp_path: Path, others: list[list[int]]
) -> None:
    data = one_face([40, 20, 400, 90])
    face = data["annotations"][0]
    data["annotations"] += [{**face, "id": 2 + k, "bbox": box} for k, box in enumerate(others)]
    faces = read(tmp_path, data).photos[0].record.faces
    assert faces is not None and faces.boxes_xyxy[0].tolist() == [40, 20, 440, 110]


def test_flat_points_of_an_ltrb_file(tmp_path: Path) -> None:
    data = seeds_file(68)
    for entry in data["annotations"]:
        entry["segmentation"] = [[value for point in entry["segmentation"] for value in point]]
    faces = read(tmp_path, data, boxes="ltrb").photos[1].record.faces
    assert faces is not None
    flat = [entry["segmentation"][0] for entry in data["annotations"]]
    np.testing.assert_allclose(faces.points_xy.reshape(2, -1), flat, atol=6e-4)


def test_the_kits_own_names_of_points_are_no_names_of_the_file(tmp_path: Path) -> None:
    data = persons_file()
    data["annotations"] = []
    data["categories"][0]["keypoints"] = list(point_names(68))
    info = read(tmp_path, data).info
    assert (info.point_count, info.point_names) == (68, ())


@pytest.mark.parametrize(
    ("given", "told", "folder", "names"),
    [
        (None, None, "/volume1/photos", ["a.jpg", "2019/b.jpg"]),
        ("/volume1", None, "/volume1", ["photos/a.jpg", "photos/2019/b.jpg"]),
        (None, "/volume1", "/volume1", ["photos/a.jpg", "photos/2019/b.jpg"]),
        ("/volume1", "/volume1/photos", "/volume1", ["photos/a.jpg", "photos/2019/b.jpg"]),
        ("/here", None, "/here", ["a.jpg", "2019/b.jpg"]),
        ("/here", "/volume1", "/here", ["photos/a.jpg", "photos/2019/b.jpg"]),
    ],
)
def test_absolute_names_become_relative(
    tmp_path: Path, given: str | None, told: str | None, folder: str, names: list[str]
) -> None:
    data = seeds_file()
    if told:
        data["info"] = {"photo_folder": told}
    dataset = read(tmp_path, data, None if given is None else Path(given))
    assert dataset.info.photo_folder == folder
    assert [photo.record.photo for photo in dataset.photos] == names


def put(data: dict[str, Any], place: str, value: Any) -> None:
    """Set what a path such as ``annotations/0/bbox`` leads to."""
    *parents, last = [int(part) if part.isdigit() else part for part in place.split("/")]
    target: Any = data
    for part in parents:
        target = target[part]
    target[last] = value


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("images/0", 3, r"images\[0\] has no id"),
        ("images/0/id", "7", r"images\[0\] has no id that is a whole number"),
        ("images/1/id", 0, r"images\[1\] has the id of another image, 0"),
        ("images/1/file_name", "/volume1/photos/a.jpg", r"images\[1\] is of the same file"),
        ("images/0/file_name", "", r"images\[0\] has no file_name"),
        ("images/0/file_name", "\ud800.jpg", r"images\[0\] has no file_name"),
        ("images/0/file_name_hex", "no", r"images\[0\] has no file_name"),
        ("images/0/id", 1 << 63, r"images\[0\] has an id beyond 64 bits"),
        ("images/1/width", 0, r"images\[1\] has no width and height"),
        ("annotations/1", [], r"annotations\[1\] has no image_id"),
        ("annotations/1/image_id", 9, r"annotations\[1\] is of image 9, not listed"),
        ("annotations/1/image_id", [1], r"annotations\[1\] has no image_id"),
        ("annotations/1/category_id", 9, r"annotations\[1\] is of category 9, not listed"),
        ("annotations/1/category_id", [], r"annotations\[1\] is of category \[\], not listed"),
        ("annotations/1/bbox", [1, 2, 3], r"bbox of annotations\[1\]: expected 4 numbers"),
        (
            "annotations/1/bbox",
            [1, 2, "3", 4],
            r"bbox of annotations\[1\]: not coordinates",
        ),
        ("annotations/1/bbox", [9, 9, 9, 20], r"annotations\[1\] has an empty box.*ltrb"),
        ("annotations/1/score", "1", r"score of annotations\[1\]"),
        ("annotations/1/segmentation/4", [1, None], r"segmentation of annotations\[1\]"),
        ("annotations/1/segmentation", [[1, 2], [3, 4]], r"\[1\] has 2 points, .*\[0\] has 80"),
        ("annotations/1/keypoint_scores", [1], r"keypoint_scores of annotations\[1\]: expected 80"),
        ("annotations/0/iscrowd", 5, r"iscrowd of annotations\[0\]"),
        ("categories/0", {"id": 1}, r"categories\[0\] has no id and name"),
        ("categories/0/name", "\ud800", r"categories\[0\] has no id and name"),
        ("categories", {}, "categories is not a list"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, place: str, value: Any, message: str) -> None:
    data = seeds_file()
    put(data, place, value)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, data, boxes="ltrb")
    assert caught.value.path == tmp_path / "in.json"


@pytest.mark.parametrize("value", [[1, 2], "x", [1, 2, "y"], [[1, 2, 3]]])
def test_malformed_keypoints_are_named(tmp_path: Path, value: Any) -> None:
    data = persons_file()
    put(data, "annotations/0/keypoints", value)
    with pytest.raises(DataError, match=r"keypoints of annotations\[0\]"):
        read(tmp_path, data)


def test_categories_of_one_name_are_refused(tmp_path: Path) -> None:
    data = persons_file()
    data["categories"].append(copy.deepcopy(data["categories"][0]) | {"id": 4})
    with pytest.raises(DataError, match=r"categories\[1\] has the id or the name of another"):
        read(tmp_path, data)


def test_a_sharpness_is_read_back_and_checked(tmp_path: Path) -> None:
    data = persons_file()
    assert np.isnan(read(tmp_path, data).photos[0].record.faces.sharpness).all()
    data["annotations"][0]["sharpness"] = 0.25
    assert read(tmp_path, data).photos[0].record.faces.sharpness.tolist() == [0.25]
    data["annotations"][0]["sharpness"] = "high"
    with pytest.raises(DataError, match=r"sharpness of annotations\[0\]"):
        read(tmp_path, data)
