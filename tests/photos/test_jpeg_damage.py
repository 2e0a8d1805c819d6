"""No damaged JPEG gets past the check for DALI to refuse it, which would fail a merged batch.

``FACEKIT_JPEG_FUZZ=3000`` tries as many files of every kind (half a minute) instead of a few, and
``-o junit_family=xunit1 --junitxml FILE`` writes how many passed. To hold another DALI against
them, run this file with ``--noconftest -W ignore`` in an environment with that DALI, NumPy, Pillow
and pytest.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.pipeline import Pipeline

from facekit.errors import PhotoError
from facekit.photos.check import check_photo
from facekit.pipelines.definitions import Node, decode
from tests.photos.jpeg_damage import DAMAGES, Damage, damaged_jpegs, sound_jpegs

FILES = int(os.environ.get("FACEKIT_JPEG_FUZZ", "60"))
BATCH = 32


def build() -> Pipeline:
    @pipeline_def(
        batch_size=BATCH, num_threads=1, device_id=None, prefetch_queue_depth=1,
        exec_pipelined=False, exec_async=False,
    )  # fmt: skip
    def both() -> tuple[Node, Node]:
        photo = fn.external_source(name="photo", device="cpu", dtype=types.UINT8, ndim=1)
        return decode(photo, "cpu", "gray"), decode(photo, "cpu", "rgb")

    pipeline = both()
    pipeline.build()
    return pipeline


def refused(photos: list[np.ndarray]) -> list[int]:
    """Which of the photos DALI does not decode."""
    pipeline, bad = build(), []
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        try:
            run(pipeline, batch)
            continue
        except RuntimeError:
            pipeline = build()
        for k, photo in enumerate(batch, start):
            try:
                run(pipeline, [photo])
            except RuntimeError:
                pipeline = build()  # a failed pipeline object is of no further use
                bad.append(k)
    return bad


def run(pipeline: Pipeline, photos: list[np.ndarray]) -> None:
    pipeline.feed_input("photo", photos)
    pipeline.run()


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_jpeg_that_passes_is_decoded(
    damage: Damage, progressive: bool, record_property: Callable[[str, object], None]
) -> None:
    passed: list[np.ndarray] = []
    by_pillow = errors = 0
    for data in damaged_jpegs(damage, FILES, progressive=progressive):
        try:
            checked = check_photo(data).data
        except PhotoError:
            errors += 1
            continue
        if bytes(checked[:2]) == b"\xff\xd8":
            passed.append(checked)
        else:
            by_pillow += 1
    counts = f"{len(passed)} passed, {by_pillow} by Pillow, {errors} refused"
    record_property("counts", counts)
    assert refused(passed) == [], counts
    # Neither all files are sound nor none: the damage hits what it is meant to hit.
    assert passed or by_pillow
    assert errors or by_pillow


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_sound_jpeg_is_left_to_dali(progressive: bool) -> None:
    for data in sound_jpegs(progressive=progressive):
        assert bytes(check_photo(data).data) == data
