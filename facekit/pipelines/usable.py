"""Which photos DALI's own readers can take: looked at before a run that must not stop on one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from facekit.client.photos import read_photo
from facekit.errors import PhotoError
from facekit.photos.check import check_photo
from facekit.pipelines.definitions import Node

Pixels = npt.NDArray[np.uint8]
Looked = tuple[str, "Pixels | PhotoError"]

_TRIED = 8
"""Photos that are decoded together."""


def unusable_photos(
    folder: Path, sizes: dict[str, tuple[int, int]], threads: int, device: str = "cpu"
) -> dict[str, PhotoError]:
    """Decode every photo once, and return what is wrong with those that DALI stumbles over.

    Args:
        folder: What their names count from.
        sizes: Width and height by name, as their labels have them.
        threads: That read and decode.
        device: ``cpu`` or ``gpu``, as the reader's pipeline will decode.
    """
    failures: dict[str, PhotoError] = {}
    trial, waiting = _Trial(threads, device), []
    with ThreadPoolExecutor(threads) as pool:
        for name, found in _ahead(pool, folder, sizes, 2 * (threads + _TRIED)):
            if isinstance(found, PhotoError):
                failures[name] = found
                continue
            waiting.append((name, found))
            if len(waiting) == _TRIED:
                failures |= trial.errors(waiting, sizes)
                waiting = []
    return failures | trial.errors(waiting, sizes)


def _ahead(
    pool: ThreadPoolExecutor, folder: Path, sizes: dict[str, tuple[int, int]], most: int
) -> Iterator[Looked]:
    """Give the photos in their order; no more than so many are in memory."""
    under_way: deque[Future[Looked]] = deque()
    for name, size_wh in sizes.items():
        under_way.append(pool.submit(_look, folder, name, size_wh))
        if len(under_way) == most:
            yield under_way.popleft().result()
    for future in under_way:
        yield future.result()


def _look(folder: Path, name: str, size_wh: tuple[int, int]) -> Looked:
    """Return a photo's bytes, or what is wrong with it as far as the kit itself can tell."""
    try:
        raw = read_photo(folder / name)
        height, width = check_photo(raw).size_hwc[:2]
        if (width, height) != size_wh:
            raise PhotoError(
                "{} x {} pixels, but {} x {} in the data set".format(width, height, *size_wh)
            )
    except PhotoError as e:
        return name, PhotoError(str(e).removeprefix(f"{folder / name}: "))
    return name, raw


class _Trial:
    """Decodes photos as the reader's pipeline will."""

    def __init__(self, threads: int, device: str) -> None:
        self._threads, self._device = threads, device
        self._pipeline: Any = None

    def errors(
        self, photos: Sequence[tuple[str, Pixels]], sizes: dict[str, tuple[int, int]]
    ) -> dict[str, PhotoError]:
        """Return what is wrong with photos, if anything; one that fails spoils its whole batch."""
        if not photos:
            return {}
        if self._pipeline is None:
            self._pipeline = _trial_pipeline(
                self._device,
                batch_size=_TRIED,
                num_threads=self._threads,
                device_id=None if self._device == "cpu" else 0,
            )
            self._pipeline.build()
        try:
            self._pipeline.feed_input("photo", [raw for _, raw in photos])
            (shapes,) = self._pipeline.run()
        except RuntimeError as e:
            self._pipeline = None  # it is of no use any more
            if len(photos) == 1:
                return {photos[0][0]: PhotoError(f"DALI cannot decode it: {e}")}
            half = len(photos) // 2
            return self.errors(photos[:half], sizes) | self.errors(photos[half:], sizes)
        return {
            name: PhotoError("DALI does not turn it upright")
            for k, (name, _) in enumerate(photos)
            if (int(shapes.at(k)[1]), int(shapes.at(k)[0])) != sizes[name]
        }


@pipeline_def(prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
def _trial_pipeline(device: str) -> Node:
    photo = fn.external_source(name="photo", dtype=types.UINT8, ndim=1)
    decoder = "cpu" if device == "cpu" else "mixed"
    return fn.decoders.image(photo, device=decoder, output_type=types.RGB).shape()
