from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from facekit.annotations import DatasetInfo, NumberedPhoto, read_dataset, write_coco
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import DataError
from facekit.faces import Faces
from facekit.landmarks.scheme import groups
from tests.annotations.random_photos import contents, random_faces, random_photos, source

INFO = DatasetInfo("/photos of mine", "faces")


def written(folder: Path, photos: list[NumberedPhoto], **options: Any) -> dict[str, Any]:
    write_coco(folder / "out.json", source(photos), INFO, **options)
    data: dict[str, Any] = json.loads((folder / "out.json").read_bytes())
    return data


def photo_of(faces: Faces, name: str = "a.jpg", image_id: int = 1) -> NumberedPhoto:
    return NumberedPhoto(image_id, PhotoRecord(name, FileStamp(9, 9), faces))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("points", "classes"),
    [(68, ()), (80, ()), (104, ()), (5, ()), (0, ("mask", "no-mask")), (68, ("mask", "no-mask"))],
)
def test_what_is_written_is_read_back(
    tmp_path: Path, seed: int, points: int, classes: tuple[str, ...]
) -> None:
    photos = random_photos(seed, points=points, classes=classes)
    written(tmp_path, photos, seed_fields=bool(seed % 2))
    dataset = read_dataset(tmp_path / "out.json")
    assert contents(dataset.photos) == contents(photos)
    channels = {photo.record.faces.channels for photo in dataset.photos if photo.record.faces}
    assert channels == ({3} if seed % 2 else {0})
    assert (dataset.info.photo_folder, dataset.info.model) == ("/photos of mine", "faces")
    assert dataset.info.class_names == classes
    # And once more: what was read gives the same bytes.
    write_coco(
        tmp_path / "again.json", source(dataset.photos), dataset.info, seed_fields=bool(seed % 2)
    )
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "out.json").read_bytes()


def test_an_entry_holds_what_coco_asks_for(tmp_path: Path) -> None:
    faces = random_faces(np.random.default_rng(0), 1)
    data = written(tmp_path, [photo_of(faces, image_id=7)])
    assert data["images"] == [{"id": 7, "width": 640, "height": 480, "file_name": "a.jpg"}]
    (entry,) = data["annotations"]
    x1, y1, x2, y2 = faces.boxes_xyxy[0].tolist()
    assert entry["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=2e-3)
    assert entry["area"] == pytest.approx(entry["bbox"][2] * entry["bbox"][3], abs=1e-3)
    points = np.array(entry["keypoints"]).reshape(68, 3)
    np.testing.assert_allclose(points[:, :2], faces.points_xy[0], atol=6e-4)
    assert set(points[:, 2]) == {2}
    kept = ("id", "image_id", "category_id", "iscrowd", "num_keypoints")
    assert {key: entry[key] for key in kept} == {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 68,
    }
    assert "rotation" not in entry and "segmentation" not in entry


@pytest.mark.parametrize("count", [68, 80, 104])
def test_the_category_names_every_point(tmp_path: Path, count: int) -> None:
    faces = random_faces(np.random.default_rng(0), 1, points=count)
    (category,) = written(tmp_path, [photo_of(faces)])["categories"]
    names = category["keypoints"]
    assert len(names) == len(set(names)) == count
    for part, span in groups(count).items():
        assert all(names[index].startswith(f"{part}_") for index in span)
    ends = [end for pair in category["skeleton"] for end in pair]
    # From 1: the jaw's first point is an end, and all lie in the 68 that are joined.
    assert min(ends) == 1 and max(ends) == 68
    assert [37, 38] in category["skeleton"] and [42, 37] in category["skeleton"]


def test_pycocotools_evaluates_the_file_against_itself(tmp_path: Path) -> None:
    data = written(tmp_path, random_photos(3), seed_fields=True)
    truth = COCO(str(tmp_path / "out.json"))
    assert len(truth.loadAnns(truth.getAnnIds())) == len(data["annotations"]) == 6
    # The polygon of the landmarks is one that it can fill.
    assert truth.annToMask(truth.loadAnns([1])[0]).any()
    for kind in ("bbox", "keypoints"):
        found = truth.loadRes(json.loads((tmp_path / "out.json").read_bytes())["annotations"])
        evaluation = COCOeval(truth, found, kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.full(68, 0.05)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0), kind
        # A box moved by its width is another box.
        for entry in found.anns.values():
            entry["bbox"][0] += entry["bbox"][2]
            entry["keypoints"][0::3] = [x + 500 for x in entry["keypoints"][0::3]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] < 0.5, kind


def test_the_seeds_fields(tmp_path: Path) -> None:
    upright = random_faces(np.random.default_rng(0), 1)
    one_place = Faces(
        upright.boxes_xyxy, [0.5], np.full((1, 68, 2), 30.0), np.ones((1, 68)), (640, 480)
    )
    photos = [photo_of(upright), photo_of(one_place, "b.jpg", 2)]
    data = written(tmp_path, photos, seed_fields=True)
    assert [image.get("channels") for image in data["images"]] == [3, None]
    first, second = data["annotations"]
    assert first["rotation"] == pytest.approx(upright[0].rotation_deg, abs=1e-2)
    assert first["center"] == pytest.approx(upright[0].center_xy.tolist(), abs=1e-2)
    (polygon,) = first["segmentation"]
    np.testing.assert_allclose(np.reshape(polygon, (68, 2)), upright.points_xy[0], atol=6e-4)
    assert second["rotation"] is None and second["center"] == [30.0, 30.0]


def test_what_nobody_tells_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_coco(path, source(random_photos(1)), DatasetInfo("/photos"))
    assert "model" not in json.loads(path.read_bytes())["info"]
    assert read_dataset(path).info.model == ""


def test_a_model_of_classes_has_a_category_a_class_and_no_points(tmp_path: Path) -> None:
    photos = random_photos(1, points=0, classes=("mask", "no-mask"))
    data = written(tmp_path, photos, seed_fields=True)
    assert [(entry["id"], entry["name"]) for entry in data["categories"]] == [
        (1, "mask"),
        (2, "no-mask"),
    ]
    labels = [label for _, _, faces in contents(photos) for label in faces.labels.tolist()]
    assert [entry["category_id"] - 1 for entry in data["annotations"]] == labels
    without = ("keypoints", "segmentation", "rotation", "center")
    assert not any(key in entry for entry in data["annotations"] for key in without)
    assert not any("keypoints" in entry for entry in data["categories"])


def test_faces_of_two_models_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("old")
    rng = np.random.default_rng(0)
    empty = Faces.empty((9, 9), 80)
    photos = [
        photo_of(empty, "empty.jpg", 1),
        photo_of(random_faces(rng, 1), "a.jpg", 2),
        photo_of(empty, "none.jpg", 3),
    ]
    written(tmp_path, photos)  # Of photos without faces nobody knows.
    old = (tmp_path / "out.json").read_bytes()
    photos.append(photo_of(random_faces(rng, 1, points=80), "b.jpg", 4))
    with pytest.raises(DataError, match=r"68 points in a\.jpg, 80 points in b\.jpg; write them to"):
        written(tmp_path, photos)
    assert (tmp_path / "out.json").read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("seed_fields", [False, True])
def test_no_photos_and_no_faces_are_datasets_too(tmp_path: Path, seed_fields: bool) -> None:
    data = written(tmp_path, [], seed_fields=seed_fields)
    assert data["images"] == data["annotations"] == []
    assert len(data["categories"][0]["keypoints"]) == 68
    assert read_dataset(tmp_path / "out.json").photos == []
    photos = [photo_of(Faces.empty((9, 9), 80))]
    written(tmp_path, photos, seed_fields=seed_fields)
    dataset = read_dataset(tmp_path / "out.json")
    assert contents(dataset.photos) == contents(photos)
    assert dataset.info.point_count == 80
    assert COCO(str(tmp_path / "out.json")).getImgIds() == [1]


@pytest.mark.parametrize(("points", "classes"), [(68, ()), (0, ("mask", "no-mask"))])
def test_dali_reads_boxes_and_polygons(
    tmp_path: Path, points: int, classes: tuple[str, ...]
) -> None:
    from nvidia.dali import fn, pipeline_def

    names = ("a.jpg", "ünï 😀.jpg", "deep/er/b.jpg")
    photos = random_photos(5, points=points, classes=classes, names=names)
    (tmp_path / "deep/er").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (640, 480)).save(tmp_path / name)
    written(tmp_path, photos, seed_fields=True)

    @pipeline_def(batch_size=3, num_threads=1, device_id=None)
    def reader() -> Any:
        return tuple(
            fn.readers.coco(
                file_root=str(tmp_path),
                annotations_file=str(tmp_path / "out.json"),
                ltrb=True,
                polygon_masks=True,
                image_ids=True,
            )
        )

    pipeline = reader()
    pipeline.build()
    _, boxes, labels, polygons, vertices, ids = pipeline.run()
    for place, (image_id, _, faces) in enumerate(contents(photos)):
        assert int(np.array(ids[place])[0]) == image_id
        np.testing.assert_allclose(np.array(boxes[place]), faces.boxes_xyxy, atol=1e-3)
        expected = faces.labels + 1 if classes else np.ones(len(faces))
        assert np.array(labels[place]).tolist() == expected.tolist()
        np.testing.assert_allclose(
            np.array(vertices[place]).reshape(-1, 2), faces.points_xy.reshape(-1, 2), atol=1e-3
        )
        assert len(np.array(polygons[place])) == (len(faces) if points else 0)
