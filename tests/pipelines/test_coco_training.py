"""Training batches out of the kit's own COCO file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.annotations import DatasetInfo, NumberedPhoto, write_coco
from facekit.draw import open_upright
from facekit.errors import ConfigError, DataError
from facekit.faces import Faces
from facekit.pipelines import coco_training
from facekit.pipelines.coco_training import CocoBatches
from tests import photo_files
from tests.face_shapes import faces_of, points_68, record_of

COUNT = 7
SIZE_WH = (90, 70)


def faces(k: int) -> Faces:
    points = [points_68((30 + 5 * f + k, 30), 10 + f, 10 * k) for f in range(k % 3)]
    return faces_of(points, SIZE_WH, [0.9] * len(points))


def write(folder: Path, names: list[str], *, seed_fields: bool = True) -> Path:
    path = folder / "instances.json"
    photos = [NumberedPhoto(k + 1, record_of(name, faces(k))) for k, name in enumerate(names)]
    write_coco(
        path, lambda: iter(photos), DatasetInfo(str(folder / "photos")), seed_fields=seed_fields
    )
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    names = [f"sub/{k}.jpg" for k in range(COUNT)]
    for k, name in enumerate(names):
        data = photo_files.oriented_jpeg(photo_files.picture(SIZE_WH), k % 8 + 1)
        (tmp_path / "photos" / name).write_bytes(data)
    return write(tmp_path, names)


def ids(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch.image_ids]


def test_one_epoch_holds_every_photo_with_its_labels(coco: Path) -> None:
    data = CocoBatches(coco, 3)
    assert len(data) == 3 and data.failures == {}
    batches = list(data)
    assert [batch.image_ids for batch in batches] == [[1, 2, 3], [4, 5, 6], [7]]
    for batch in batches:
        for place, number in enumerate(batch.image_ids):
            expected = faces(number - 1)
            assert batch.boxes_xyxy[place].shape == (len(expected), 4)
            np.testing.assert_allclose(batch.boxes_xyxy[place], expected.boxes_xyxy, atol=2e-3)
            assert batch.labels[place].tolist() == [1] * len(expected)
            assert len(batch.polygons[place]) == len(expected)
            for points, landmarks in zip(batch.polygons[place], expected.points_xy, strict=True):
                np.testing.assert_allclose(points, landmarks, atol=1e-3)
            # Upright, whatever the file's orientation.
            photo = np.asarray(open_upright(coco.parent / "photos" / f"sub/{number - 1}.jpg"), int)
            assert np.abs(batch.images[place] - photo).mean() < 2
    # The next epoch is the same again.
    assert ids(data) == [1, 2, 3, 4, 5, 6, 7]


def test_epoch_that_was_left_is_gone_on_with(coco: Path) -> None:
    data = CocoBatches(coco, 3)
    for batch in data:
        assert batch.image_ids == [1, 2, 3]
        break
    assert ids(data) == [4, 5, 6, 7]
    assert ids(data) == [1, 2, 3, 4, 5, 6, 7]


def test_shuffled_epochs_differ_and_follow_the_seed(coco: Path) -> None:
    epochs = {}
    for seed in (1, 2):
        data = CocoBatches(coco, 2, shuffle=True, seed=seed)
        epochs[seed] = [ids(data) for _ in range(3)]
    for epoch in [*epochs[1], *epochs[2]]:
        assert sorted(epoch) == [1, 2, 3, 4, 5, 6, 7]
    assert len({tuple(epoch) for epoch in [*epochs[1], *epochs[2]]}) == 6
    data = CocoBatches(coco, 2, shuffle=True, seed=1)
    assert [ids(data) for _ in range(3)] == epochs[1]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [2, 3])
def test_shards_share_no_photo_and_miss_none(coco: Path, shuffle: bool, batch_size: int) -> None:
    shards = [
        CocoBatches(coco, batch_size, shuffle=shuffle, seed=5, shard_id=k, num_shards=3)
        for k in range(3)
    ]
    for _ in range(3):
        parts = [ids(shard) for shard in shards]
        assert [len(part) for part in parts] == [2, 2, 3]
        assert sorted(sum(parts, [])) == [1, 2, 3, 4, 5, 6, 7]


def test_photos_that_dali_would_stumble_over_are_left_out_before(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    bad = {f"bad {k}.jpg": data for k, (data, _) in enumerate(photo_files.bad_photos().values())}
    picture = photo_files.picture(SIZE_WH)
    good = {
        "a.jpg": photo_files.encode(picture, "JPEG"),
        "b.png": photo_files.encode(picture, "PNG"),
        "c.webp": photo_files.encode(picture, "WEBP", lossless=True),
        "d.bmp": photo_files.encode(picture, "BMP"),
    }
    other = {"other size.jpg": photo_files.encode(photo_files.picture((9, 9)), "JPEG")}
    for name, data in {**bad, **good, **other}.items():
        (photos / name).write_bytes(data)
    data = CocoBatches(write(tmp_path, [*bad, *good, *other, "gone.jpg"]), 4)
    assert {*data.failures} == {*bad, *other, "gone.jpg"}
    assert str(data.failures["other size.jpg"]) == "9 x 9 pixels, but 90 x 70 in the dataset"
    assert "No such file" in str(data.failures["gone.jpg"])
    assert ids(data) == [len(bad) + 1 + k for k in range(len(good))]


def test_photo_that_only_dali_refuses_is_left_out_before(
    coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = coco_training._look

    def lenient(folder: Path, name: str, size_wh: tuple[int, int]) -> Any:
        if name == "sub/3.jpg":
            return np.frombuffer(b"no photo at all", np.uint8)
        return real(folder, name, size_wh)

    monkeypatch.setattr(coco_training, "_look", lenient)
    batches = CocoBatches(coco, 3)
    assert {*batches.failures} == {"sub/3.jpg"}
    assert "DALI cannot decode it" in str(batches.failures["sub/3.jpg"])
    assert ids(batches) == [1, 2, 3, 5, 6, 7]


def test_file_without_landmarks_says_how_to_get_them(coco: Path, tmp_path: Path) -> None:
    path = write(tmp_path, [f"sub/{k}.jpg" for k in range(COUNT)], seed_fields=False)
    with pytest.raises(DataError, match=r"annotations\[0\] has no segmentation.*--seed-fields"):
        CocoBatches(path, 2)


def test_photo_folder_may_be_given(coco: Path, tmp_path: Path) -> None:
    data = json.loads(coco.read_text())
    data["info"]["photo_folder"] = "/nowhere"
    coco.write_text(json.dumps(data))
    assert len(ids(CocoBatches(coco, 4, photo_folder=tmp_path / "photos"))) == COUNT
    with pytest.raises(DataError, match="0 usable photos"):
        CocoBatches(coco, 4)


@pytest.mark.parametrize(
    "wrong", [{"device": "tpu"}, {"shard_id": 2, "num_shards": 2}, {"batch_size": 0}]
)
def test_options_out_of_range_are_refused(coco: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CocoBatches(coco, **{"batch_size": 1, **wrong})
