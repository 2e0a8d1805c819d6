"""Decoding photos of many sizes in batches: grouped by shape, as the seed does, beside ragged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facekit.client.photos import PhotoLike
from facekit.errors import PhotoError
from facekit.pipelines.folder_batches import PhotoBatches, photo_shape

BATCH_SIZE = 8


@dataclass(frozen=True)
class BatchingResult:
    """Both ways over the same photos.

    Attributes:
        photos: How many.
        shapes: How many shapes they have.
        batch_size: The largest batch.
        grouped_batches: Batches of a pass when each is of one shape.
        ragged_batches: Of a pass when photos come as they are.
        grouped: Median photos a second, the look at the headers included.
        ragged: The same of the other way.
        ratio: Median of the pairs' ratios, grouped over ragged.
        ratios: Of every pair.
        grouped_cpu_ms: Median processor time a photo of the grouped way.
        ragged_cpu_ms: Of the other.
        padding: Pixels of ragged batches over those of their photos, if each batch were padded to
            its tallest and widest photo to be stacked.
    """

    photos: int
    shapes: int
    batch_size: int
    grouped_batches: int
    ragged_batches: int
    grouped: float
    ragged: float
    ratio: float
    ratios: tuple[float, ...]
    grouped_cpu_ms: float
    ragged_cpu_ms: float
    padding: float


def compare_batching(
    photos: Sequence[PhotoLike],
    *,
    batch_size: int = BATCH_SIZE,
    seconds: float = 3.0,
    pairs: int = 5,
    device: str = "cpu",
    advance: Callable[[], None] = lambda: None,
) -> BatchingResult:
    """Decode the photos both ways in turns: the machine's drift cancels.

    Args:
        photos: Paths or encoded photos.
        batch_size: The largest batch.
        seconds: At least so long is a turn of one way; it ends with the pass that is under way.
        pairs: How often both have a turn.
        device: ``cpu``, or ``gpu`` to decode on the first CUDA device.
        advance: Called after every turn.

    Raises:
        PhotoError: There are no photos, or one can't be used.
    """
    shapes = [photo_shape(photo) for photo in photos]
    if not shapes:
        raise PhotoError("no photos to decode in batches")
    counts: dict[bool, int] = {}
    rates: dict[bool, list[float]] = {True: [], False: []}
    cpu_ms: dict[bool, list[float]] = {True: [], False: []}
    ways = {
        grouped: PhotoBatches(photos, batch_size, grouped=grouped, device=device)
        for grouped in (True, False)
    }
    try:
        for way, batches in ways.items():  # once unmeasured
            counts[way] = _pass(batches)
        for _ in range(pairs):
            for way, batches in ways.items():
                cpu = time.process_time()
                rate, decoded = _rate(batches, len(photos), seconds)
                rates[way].append(rate)
                cpu_ms[way].append((time.process_time() - cpu) * 1e3 / decoded)
                advance()
    finally:
        for batches in ways.values():
            batches.close()
    ratios = [one / other for one, other in zip(rates[True], rates[False], strict=True)]
    return BatchingResult(
        photos=len(photos),
        shapes=len(set(shapes)),
        batch_size=batch_size,
        grouped_batches=counts[True],
        ragged_batches=counts[False],
        grouped=float(np.median(rates[True])),
        ragged=float(np.median(rates[False])),
        ratio=float(np.median(ratios)),
        ratios=tuple(ratios),
        grouped_cpu_ms=float(np.median(cpu_ms[True])),
        ragged_cpu_ms=float(np.median(cpu_ms[False])),
        padding=_padding(shapes, batch_size),
    )


def _rate(batches: PhotoBatches, photos: int, seconds: float) -> tuple[float, int]:
    """Return photos a second, and how many they were."""
    start, passes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not passes:
        _pass(batches)
        passes += 1
    return passes * photos / elapsed, passes * photos


def _pass(batches: PhotoBatches) -> int:
    """Decode all photos once and return the number of batches.

    Raises:
        PhotoError: One can't be used; a rate without it would not mean anything.
    """
    count = sum(1 for _ in batches)
    for error in batches.failures.values():
        raise error
    return count


def _padding(shapes: Sequence[tuple[int, int]], batch_size: int) -> float:
    padded = 0
    for start in range(0, len(shapes), batch_size):
        sides = np.array(shapes[start : start + batch_size])
        padded += len(sides) * int(sides.max(axis=0).prod())
    return padded / sum(height * width for height, width in shapes)
