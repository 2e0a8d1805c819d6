"""Decoding photos of many sizes in batches: grouped by shape, as the seed does, beside ragged."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.rates import PAIRS, in_turns, timed
from facekit.client.photos import PhotoLike
from facekit.errors import PhotoError
from facekit.pipelines.folder_batches import PhotoBatches, photo_shape

BATCH_SIZE = 8


def compare_batching(
    photos: Sequence[PhotoLike],
    *,
    batch_size: int = BATCH_SIZE,
    seconds: float = 3.0,
    pairs: int = PAIRS,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Decode the photos both ways in turns of at least ``seconds``.

    Of each way the result has the batches of a pass, median photos a second and processor time a
    photo. ``padding`` is the pixels of ragged batches over those of their photos, if each batch
    were padded to its tallest and widest photo to be stacked. Raises PhotoError if there are no
    photos, or one can't be used.
    """
    shapes = [photo_shape(photo) for photo in photos]
    if not shapes:
        raise PhotoError("no photos to decode in batches")
    with contextlib.ExitStack() as stack:
        grouped, ragged = (
            stack.enter_context(contextlib.closing(PhotoBatches(photos, batch_size, grouped=how)))
            for how in (True, False)
        )
        counts = _decode(grouped), _decode(ragged)  # once unmeasured
        turns = in_turns(
            lambda: timed(lambda: _decode_for(grouped, seconds) * len(photos)),
            lambda: timed(lambda: _decode_for(ragged, seconds) * len(photos)),
            pairs=pairs,
            advance=advance,
        )
    return {
        "photos": len(photos),
        "shapes": len(set(shapes)),
        "batch_size": batch_size,
        "grouped_batches": counts[0],
        "ragged_batches": counts[1],
        "grouped": turns.ours,
        "ragged": turns.theirs,
        "ratio": turns.ratio,
        "ratios": turns.ratios,
        "grouped_cpu_ms": turns.our_cpu_ms,
        "ragged_cpu_ms": turns.their_cpu_ms,
        "padding": _padding(shapes, batch_size),
    }


def _decode_for(batches: PhotoBatches, seconds: float) -> int:
    """Decode all photos again and again, and return how often."""
    start, passes = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or not passes:
        _decode(batches)
        passes += 1
    return passes


def _decode(batches: PhotoBatches) -> int:
    """Decode all photos once and return the number of batches."""
    count = sum(1 for _ in batches)
    for error in batches.failures.values():  # a rate without that photo would mean nothing
        raise error
    return count


def _padding(shapes: Sequence[tuple[int, int]], batch_size: int) -> float:
    padded = 0
    for start in range(0, len(shapes), batch_size):
        sides = np.array(shapes[start : start + batch_size])
        padded += len(sides) * int(sides.max(axis=0).prod())
    return padded / sum(height * width for height, width in shapes)
