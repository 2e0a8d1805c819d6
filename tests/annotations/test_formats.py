"""JSON Lines, Parquet, Label Studio's tasks and FiftyOne's labels, as their readers see them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest

from facekit.annotations import (
    DatasetInfo,
    NumberedPhoto,
    read_dataset,
    write_fiftyone,
    write_jsonl,
    write_label_studio,
    write_parquet,
)
from facekit.annotations.dataset import name_of
from facekit.annotations.output import config_path
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces
from tests.annotations.random_photos import contents, random_faces, random_photos, source

INFO = DatasetInfo("/data/my photos", "faces")
LAYOUTS = [(68, ()), (80, ()), (0, ("mask", "no-mask"))]

# What https://labelstud.io/guide/task_format and its SDK's LabelInterface ask of a region.
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}
_LABEL = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
LABEL_STUDIO_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "additionalProperties": False,
        "properties": {
            "data": {"type": "object", "required": ["image"]},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result"],
                    "additionalProperties": False,
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number"},
                        "result": {"type": "array", "items": {"$ref": "#/$defs/region"}},
                    },
                },
            },
        },
    },
    "$defs": {
        "region": {
            "type": "object",
            "required": ["id", "type", "from_name", "to_name", "value"]
            + ["original_width", "original_height", "image_rotation"],
            "oneOf": [
                {
                    "properties": {
                        "type": {"const": "rectanglelabels"},
                        "value": {
                            "required": ["x", "y", "width", "height", "rectanglelabels"],
                            "properties": dict.fromkeys(("x", "y", "width", "height"), _PERCENT)
                            | {"rectanglelabels": _LABEL},
                        },
                    }
                },
                {
                    "required": ["parentID"],
                    "properties": {
                        "type": {"const": "keypointlabels"},
                        "value": {
                            "required": ["x", "y", "width", "keypointlabels"],
                            "properties": {"x": _PERCENT, "y": _PERCENT, "keypointlabels": _LABEL},
                        },
                    },
                },
            ],
        }
    },
}


@pytest.mark.parametrize(("points", "classes"), LAYOUTS)
def test_a_line_of_json_a_photo(tmp_path: Path, points: int, classes: tuple[str, ...]) -> None:
    photos = random_photos(1, points=points, classes=classes)
    write_jsonl(tmp_path / "out", source(photos), INFO)
    lines = [json.loads(line) for line in (tmp_path / "out").read_bytes().splitlines()]
    assert len(lines) == len(contents(photos)) == 5
    for line, (image_id, name, faces) in zip(lines, contents(photos), strict=True):
        assert (name_of(line, "photo"), line["image_id"], line["channels"]) == (name, image_id, 3)
        assert line["size_wh"] == [640, 480]
        again = [(face["box_xyxy"], face["score"], face["points_xy"]) for face in line["faces"]]
        for (box, score, points_xy), face in zip(again, faces, strict=True):
            np.testing.assert_array_equal(np.float32(box), face.box_xyxy)
            assert np.float32(score) == face.score
            np.testing.assert_array_equal(
                np.float32(points_xy).reshape(-1, 2), face.points_xy.reshape(-1, 2)
            )
        assert [face.get("class_name", "") for face in line["faces"]] == [
            face.class_name for face in faces
        ]


@pytest.mark.parametrize(("points", "classes"), LAYOUTS)
def test_a_row_of_parquet_a_photo(tmp_path: Path, points: int, classes: tuple[str, ...]) -> None:
    photos = random_photos(2, points=points, classes=classes)
    write_parquet(tmp_path / "out", source(photos), INFO)
    table = pyarrow.parquet.read_table(tmp_path / "out")
    rows = table.to_pylist()
    assert [row["image_id"] for row in rows] == [photo[0] for photo in contents(photos)]
    assert [row["photo"] for row in rows][:3] == [photo[1] for photo in contents(photos)][:3]
    assert rows[3]["photo"] == "a\\udcff.jpg"
    for row, (_, _, faces) in zip(rows, contents(photos), strict=True):
        assert (row["width"], row["height"], row["channels"]) == (640, 480, 3)
        assert row["face_count"] == len(row["faces"]) == len(faces)
        for found, face in zip(row["faces"], faces, strict=True):
            assert [found[side] for side in ("x1", "y1", "x2", "y2")] == face.box_xyxy.tolist()
            # In float64, for a question such as score >= 0.9.
            assert found["score"] == round(face.score, 4)
            assert found["points_xy"] == face.points_xy.tolist()
            assert found["point_scores"] == face.point_scores.tolist()
            assert found["class_name"] == (face.class_name or None)
            known = not np.isnan(face.sharpness)
            assert found["sharpness"] == (round(face.sharpness, 4) if known else None)
            pose = [found[f"{name}_deg"] for name in ("yaw", "pitch", "roll")]
            if points:
                np.testing.assert_allclose(pose, face.pose_deg, atol=0.01)
            else:
                assert pose == [None, None, None]
            if points:
                assert found["rotation_deg"] == round(face.rotation_deg, 3)
                assert found["center_x"] == pytest.approx(float(face.center_xy[0]), abs=1e-3)
            else:
                assert found["rotation_deg"] is found["center_y"] is None
    about = table.schema.metadata
    assert about[b"facekit.photo_folder"] == b"/data/my photos"
    assert about[b"facekit.model"] == b"faces"
    assert b"pixels" in table.schema.field("width").metadata[b"description"]


def test_parquet_comes_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"{number}.jpg" for number in range(1500))
    photos = [
        NumberedPhoto(place, PhotoRecord(name, FileStamp(1, 1), Faces.empty((9, 9))))
        for place, name in enumerate(names, 1)
    ]
    write_parquet(tmp_path / "out", source(photos), INFO)
    file = pyarrow.parquet.ParquetFile(tmp_path / "out")
    groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert groups == [1000, 500]
    assert file.read(["photo"]).column("photo").to_pylist() == list(names)
    # Crowds take more memory than photos of few faces, and so come in smaller groups.
    monkeypatch.setattr("facekit.annotations.rows._GROUP_FACES", 3)
    photos = random_photos(2)
    write_parquet(tmp_path / "crowds", source(photos), INFO)
    file = pyarrow.parquet.ParquetFile(tmp_path / "crowds")
    groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert [len(faces) for _, _, faces in contents(photos)] == [0, 1, 2, 3, 0]
    assert groups == [3, 1, 1]
    write_parquet(tmp_path / "none", source([]), INFO)
    assert pyarrow.parquet.read_table(tmp_path / "none").num_rows == 0


@pytest.mark.parametrize(("points", "classes"), LAYOUTS)
def test_label_studio_gets_tasks_and_a_configuration_that_fit(
    tmp_path: Path, points: int, classes: tuple[str, ...]
) -> None:
    photos = random_photos(3, points=points, classes=classes)
    write_label_studio(tmp_path / "tasks.json", source(photos), INFO)
    tasks = json.loads((tmp_path / "tasks.json").read_bytes())
    jsonschema.validate(tasks, LABEL_STUDIO_SCHEMA)
    root = ElementTree.parse(config_path(tmp_path / "tasks.json")).getroot()
    image = root.find("Image")
    assert image is not None and image.get("value") == "$image"
    controls = {
        control.get("name"): (
            control.tag.lower(),
            control.get("toName"),
            [label.get("value") for label in control],
        )
        for control in root
        if control is not image
    }
    indices = [label.get("model_index") for label in root.findall("KeyPointLabels/Label")]
    assert indices == [str(index) for index in range(points)]
    assert set(controls) == ({"box", "point"} if points else {"box"})
    for task, (image_id, name, faces) in zip(tasks, contents(photos), strict=True):
        assert task["data"]["image_id"] == image_id
        task["data"]["photo"].encode()  # Its database takes nothing else.
        # Label Studio takes the file from the query, below its document root.
        query = urlsplit(task["data"]["image"]).query
        (path,) = parse_qs(query, errors="surrogateescape")["d"]
        assert os.path.join("/data", path) == f"/data/my photos/{name}"  # noqa: PTH118
        (prediction,) = task["predictions"]
        regions = prediction["result"]
        assert len({region["id"] for region in regions}) == len(regions)
        for region in regions:
            kind, target, labels = controls[region["from_name"]]
            assert region["type"] == kind and region["to_name"] == target == image.get("name")
            assert region["value"][kind][0] in labels
        boxes = [region for region in regions if region["type"] == "rectanglelabels"]
        sides = np.array([640, 480, 640, 480])
        for number, (box, face) in enumerate(zip(boxes, faces, strict=True)):
            value = box["value"]
            corners = [value["x"], value["y"]]
            corners += [value["x"] + value["width"], value["y"] + value["height"]]
            inside = np.clip(face.box_xyxy, 0, sides)
            np.testing.assert_allclose(np.array(corners) * sides / 100, inside, atol=1e-3)
            assert box["score"] == pytest.approx(face.score, abs=1e-4)
            texts = [f"sharpness {face.sharpness:.2f}"] * (not np.isnan(face.sharpness))
            if points:
                pose = zip(("yaw", "pitch", "roll"), face.pose_deg.tolist(), strict=True)
                texts = [*(f"{name} {angle:.0f}" for name, angle in pose), *texts]
            assert box.get("meta", {"text": []})["text"] == texts
            own = [region for region in regions if region.get("parentID") == box["id"]]
            assert [region["value"]["keypointlabels"][0] for region in own] == (
                controls["point"][2] if points else []
            )
            pixels = [[region["value"]["x"] * 6.40, region["value"]["y"] * 4.80] for region in own]
            expected = np.clip(faces.points_xy[number], 0, sides[:2])
            np.testing.assert_allclose(np.reshape(pixels, (-1, 2)), expected, atol=1e-3)
        if len(faces):
            assert prediction["score"] == pytest.approx(float(faces.scores.min()), abs=1e-4)


def test_label_studio_with_an_address_of_the_users(tmp_path: Path) -> None:
    photo = PhotoRecord("a b.jpg", FileStamp(1, 1), random_faces(np.random.default_rng(0), 1))
    photos = source([NumberedPhoto(1, photo)])
    write_label_studio(tmp_path / "out", photos, INFO, image_url="https://photos.example/")
    (task,) = json.loads((tmp_path / "out").read_bytes())
    assert task["data"]["image"] == "https://photos.example/a%20b.jpg"


def test_fiftyone_finds_the_photos_by_absolute_names(tmp_path: Path) -> None:
    photos = random_photos(4)
    held = [photo for photo in contents(photos) if "\udcff" not in photo[1]]
    assert len(held) == 4
    write_fiftyone(tmp_path / "labels.json", source(photos), INFO)
    data = json.loads((tmp_path / "labels.json").read_bytes())
    names = [name for _, name, _ in held]
    assert [image["file_name"] for image in data["images"]] == [
        f"/data/my photos/{name}" for name in names
    ]
    # What FiftyOne's importer takes a detection and its points from.
    taken = {"id", "image_id", "category_id", "bbox", "keypoints", "score", "area", "iscrowd"}
    assert all(taken <= entry.keys() for entry in data["annotations"])
    assert contents(read_dataset(tmp_path / "labels.json").photos) == held
