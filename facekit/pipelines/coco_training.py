"""Batches of a dataset for a training loop: DALI reads the COCO file and decodes the photos.

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

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from facekit.client.photos import read_photo
from facekit.errors import ConfigError, DataError, PhotoError
from facekit.labels.coco import load_coco
from facekit.landmarks.crops import FloatArray
from facekit.parallel import in_order
from facekit.photos.check import check_photo
from facekit.pipelines.definitions import DEVICES, Node

Pixels = npt.NDArray[np.uint8]

_LEAST_COORDINATES = 6
_TRIED = 8
"""Photos that are decoded together before the first epoch."""


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
    images: list[Pixels]
    boxes_xyxy: list[FloatArray]
    labels: list[npt.NDArray[np.int32]]
    polygons: list[list[FloatArray]]


class CocoBatches:
    """Epochs over a dataset; each ``iter`` is one, and every photo of the shard comes once.

    Args:
        annotations: The COCO file, with ``segmentation``.
        batch_size: Photos of a batch; the last of an epoch may have fewer.
        photo_folder: What its file names count from; when left out, what its ``info`` says, else
            its own folder.
        device: ``cpu``, or ``gpu`` to decode on the first CUDA device.
        shuffle: Whether every epoch has an order of its own; the shards of one seed and epoch stay
            without a photo in common.
        seed: Of the order.
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
        reader_options = {
            "file_root": str(folder),
            "annotations_file": str(path),
            "images": names,
            "shuffle_after_epoch": shuffle,
            "shard_id": shard_id,
            "num_shards": num_shards,
            "stick_to_shard": not shuffle,
        }
        self._pipeline = _reader(
            reader_options,
            device,
            batch_size=batch_size,
            num_threads=threads,
            device_id=None if device == "cpu" else 0,
            seed=seed,
        )
        self._pipeline.build()
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


@pipeline_def  # type: ignore[untyped-decorator]
def _reader(options: dict[str, Any], device: str) -> tuple[Node, ...]:
    """Return images, boxes, labels, polygons, vertices and image ids."""
    readers: Any = fn.readers
    encoded, *labels = readers.coco(
        ltrb=True,
        polygon_masks=True,
        image_ids=True,
        avoid_class_remapping=True,
        pad_last_batch=True,
        **options,
    )
    decoder = "cpu" if device == "cpu" else "mixed"
    return fn.decoders.image(encoded, device=decoder, output_type=types.RGB), *labels


def _batch(outputs: Any, count: int) -> CocoBatch:
    """Return copies of outputs, which DALI overwrites with the next batch."""
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

    Raises DataError if an entry lacks a field that DALI's reader needs.
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
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"an image without file_name, width and height: {error!r}") from error


def unusable_photos(
    folder: Path, sizes: dict[str, tuple[int, int]], threads: int, device: str = "cpu"
) -> dict[str, PhotoError]:
    """Decode every photo once, as the reader's pipeline will, and return what fails and why.

    ``sizes`` has the width and height that the labels give, by name under the folder.
    """
    failures: dict[str, PhotoError] = {}
    pipelines: list[Any] = []  # the one that runs; one that failed is of no use any more

    def decode(photos: Sequence[tuple[str, Pixels]]) -> None:
        if not photos:
            return
        if not pipelines:
            pipelines.append(
                _trial_pipeline(
                    device,
                    batch_size=_TRIED,
                    num_threads=threads,
                    device_id=None if device == "cpu" else 0,
                )
            )
            pipelines[0].build()
        try:
            pipelines[0].feed_input("photo", [raw for _, raw in photos])
            (shapes,) = pipelines[0].run()
        except RuntimeError as error:  # one photo that fails spoils its whole batch
            pipelines.clear()
            if len(photos) == 1:
                failures[photos[0][0]] = PhotoError(f"DALI cannot decode it: {error}")
                return
            half = len(photos) // 2
            decode(photos[:half])
            decode(photos[half:])
            return
        for k, (name, _) in enumerate(photos):
            if (int(shapes.at(k)[1]), int(shapes.at(k)[0])) != sizes[name]:
                failures[name] = PhotoError("DALI does not turn it upright")

    waiting: list[tuple[str, Pixels]] = []
    with ThreadPoolExecutor(threads) as pool:
        names_and_sizes = sizes.items()
        looks = in_order(
            pool, lambda item: _look(folder, *item), names_and_sizes, 2 * (threads + _TRIED)
        )
        for name, found in zip(sizes, looks, strict=True):
            if isinstance(found, PhotoError):
                failures[name] = found
                continue
            waiting.append((name, found))
            if len(waiting) == _TRIED:
                decode(waiting)
                waiting = []
    decode(waiting)
    return failures


def _look(folder: Path, name: str, size_wh: tuple[int, int]) -> Pixels | PhotoError:
    """Return a photo's bytes, or what is wrong with it as far as the kit itself can tell."""
    try:
        raw = read_photo(folder / name)
        height, width = check_photo(raw).size_hwc[:2]
        if (width, height) != size_wh:
            raise PhotoError(
                "{} x {} pixels, but {} x {} in the dataset".format(width, height, *size_wh)
            )
    except PhotoError as error:
        return PhotoError(str(error).removeprefix(f"{folder / name}: "))
    return raw


@pipeline_def(prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
def _trial_pipeline(device: str) -> Node:
    photo = fn.external_source(name="photo", dtype=types.UINT8, ndim=1)
    decoder = "cpu" if device == "cpu" else "mixed"
    return fn.decoders.image(photo, device=decoder, output_type=types.RGB).shape()
