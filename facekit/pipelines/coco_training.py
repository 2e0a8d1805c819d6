"""A data set as batches for a training loop: DALI reads the COCO file and decodes the photos.

::

    data = CocoBatches("instances.json", 32, shuffle=True, seed=1, shard_id=0, num_shards=2)
    for epoch in range(10):
        for batch in data:
            batch.images[0]  # uint8 (H, W, 3)
            batch.boxes_xyxy[0]  # float32 (F, 4)
            np.stack(batch.polygons[0])  # float32 (F, 68, 2): the faces' landmarks

The polygons are the file's ``segmentation``, which ``facekit annotate --seed-fields`` fills with
the landmarks in their order. Every photo is decoded once before the first epoch, so that none
stops a training after hours; the pixels are upright, as DALI 2 decodes them, and transparent ones
have the color that is stored beneath.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from facekit.errors import ConfigError, DataError
from facekit.labels.coco import load_coco
from facekit.landmarks.crops import FloatArray
from facekit.pipelines.definitions import DEVICES, Node
from facekit.pipelines.usable import unusable_photos

_LEAST_COORDINATES = 6


@dataclass(frozen=True)
class CocoBatch:
    """Some photos and their labels; every list has an entry a photo.

    Attributes:
        image_ids: Their ids in the file.
        images: uint8 (H, W, 3) each, upright.
        boxes_xyxy: float32 (F, 4) each: left, top, right, bottom in pixels.
        labels: int32 (F,) each: the category's id in the file.
        polygons: float32 (V, 2) for each face: x and y in pixels; a face of several polygons has
            them one after another.
    """

    image_ids: list[int]
    images: list[npt.NDArray[np.uint8]]
    boxes_xyxy: list[FloatArray]
    labels: list[npt.NDArray[np.int32]]
    polygons: list[list[FloatArray]]


def coco_pipeline(
    annotations: Path,
    photo_folder: Path,
    names: list[str],
    batch_size: int,
    *,
    device: str = "cpu",
    shuffle: bool = False,
    shard_id: int = 0,
    num_shards: int = 1,
    seed: int = 0,
    threads: int = 1,
) -> Any:
    """Return the built DALI pipeline: images, boxes, labels, polygons, vertices, image ids.

    Args:
        annotations: The COCO file.
        photo_folder: What its file names count from.
        names: The file names to read, in this order.
        batch_size: Photos of a batch; the last of an epoch is filled up with its last photo.
        device: ``cpu``, or ``gpu`` to decode on the first CUDA device.
        shuffle: Whether every epoch has an order of its own, of all shards together.
        shard_id: Which part of the photos to read, from 0.
        num_shards: How many parts there are.
        seed: Of the pipeline's random numbers.
        threads: That decode.
    """

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=batch_size,
        num_threads=threads,
        device_id=None if device == "cpu" else 0,
        seed=seed,
    )
    def coco_training() -> tuple[Node, ...]:
        readers: Any = fn.readers
        encoded, boxes, labels, polygons, vertices, image_ids = readers.coco(
            file_root=str(photo_folder),
            annotations_file=str(annotations),
            images=names,
            ltrb=True,
            polygon_masks=True,
            image_ids=True,
            avoid_class_remapping=True,
            shuffle_after_epoch=shuffle,
            shard_id=shard_id,
            num_shards=num_shards,
            stick_to_shard=not shuffle,
            pad_last_batch=True,
        )
        images = fn.decoders.image(
            encoded, device="cpu" if device == "cpu" else "mixed", output_type=types.RGB
        )
        return images, boxes, labels, polygons, vertices, image_ids

    pipeline = coco_training()
    pipeline.build()
    return pipeline


class CocoBatches:
    """Epochs over a data set; each ``iter`` is one, and every photo of the shard comes once.

    Args:
        annotations: The COCO file, with ``segmentation``.
        batch_size: Photos of a batch; the last of an epoch may have fewer.
        photo_folder: What its file names count from; when left out, what its ``info`` says, else
            its own folder.
        device: ``cpu``, or ``gpu`` to decode on the first CUDA device.
        shuffle: Whether every epoch has an order of its own; the shards of one seed and epoch stay
            without a photo in common.
        seed: Another one, another order.
        shard_id: Which part of the photos to read, from 0.
        num_shards: How many parts there are, such as processes that train together.
        threads: That decode; 0 for as many as there are processors.

    Attributes:
        failures: Photos that can't be used, by their file names; they are left out.

    Raises:
        ConfigError: An option is out of its range.
        DataError: The file can't be used, has no ``segmentation``, or no photo can be used.
    """

    def __init__(
        self,
        annotations: Path | str,
        batch_size: int,
        *,
        photo_folder: Path | str | None = None,
        device: str = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        shard_id: int = 0,
        num_shards: int = 1,
        threads: int = 0,
    ) -> None:
        if device not in DEVICES:
            raise ConfigError(f"device: expected {' or '.join(DEVICES)}, got {device}")
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, got {batch_size}")
        if not 0 <= shard_id < num_shards:
            raise ConfigError(f"shard_id: expected 0 to {num_shards - 1}, got {shard_id}")
        path, threads = Path(annotations), threads or len(os.sched_getaffinity(0))
        data = load_coco(path)
        folder = _photo_folder(path, data) if photo_folder is None else Path(photo_folder)
        sizes = _sizes(path, data)
        self.failures = unusable_photos(folder, sizes, threads, device)
        names = [name for name in sizes if name not in self.failures]
        if len(names) < num_shards:
            raise DataError(path, f"{len(names)} usable photos for {num_shards} shards")
        if shuffle:
            # DALI's own order after an epoch knows no seed: that comes in here.
            names = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
        self._pipeline = coco_pipeline(
            path, folder, names, batch_size, device=device, shuffle=shuffle, shard_id=shard_id,
            num_shards=num_shards, seed=seed, threads=threads,
        )  # fmt: skip
        edges = [len(names) * shard // num_shards for shard in (shard_id, shard_id + 1)]
        self._photos, self._batch_size = edges[1] - edges[0], batch_size
        # DALI gives all shards as many batches as the largest of them needs.
        self._rounds = math.ceil(math.ceil(len(names) / num_shards) / batch_size)
        self._round = 0

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self._photos // self._batch_size)

    def __iter__(self) -> Iterator[CocoBatch]:
        """Yield the batches of an epoch, or the rest of one that was left in its middle."""
        while self._round < self._rounds:
            left = self._photos - self._round * self._batch_size
            self._round += 1
            outputs = self._pipeline.run()
            if left > 0:
                yield _batch(outputs, min(left, self._batch_size))
        self._round = 0


def _batch(outputs: Any, count: int) -> CocoBatch:
    """Return copies of what DALI writes the next batch over."""
    images, boxes, labels, polygons, vertices, image_ids = (
        [np.array(output.at(k)) for k in range(count)]
        for output in (each.as_cpu() for each in outputs)
    )
    return CocoBatch(
        image_ids=[int(number.item()) for number in image_ids],
        images=images,
        boxes_xyxy=boxes,
        labels=[values.reshape(-1) for values in labels],
        polygons=[
            [
                np.concatenate([points[start:end] for mask, start, end in spans if mask == face])
                for face in range(len(of_photo))
            ]
            for spans, points, of_photo in zip(polygons, vertices, boxes, strict=True)
        ],
    )


def _photo_folder(path: Path, data: dict[str, Any]) -> Path:
    info = data.get("info")
    named = info.get("photo_folder") if isinstance(info, dict) else None
    return Path(named) if isinstance(named, str) and named else path.parent


def _sizes(path: Path, data: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return width and height of the photos by their file names.

    Raises:
        DataError: An entry lacks what DALI's reader takes for granted.
    """
    for index, entry in enumerate(data["annotations"]):
        polygons = entry.get("segmentation") if isinstance(entry, dict) else None
        flat = isinstance(polygons, list) and all(
            isinstance(one, list) and len(one) >= _LEAST_COORDINATES for one in polygons
        )
        if not flat or not polygons:
            raise DataError(
                path,
                f"annotations[{index}] has no segmentation of polygons: `facekit annotate "
                "--seed-fields` writes the landmarks there",
            )
    try:
        return {
            str(entry["file_name"]): (int(entry["width"]), int(entry["height"]))
            for entry in data["images"]
        }
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(path, f"an image without file_name, width and height: {e!r}") from e
