"""Which photos DALI's own readers can take: looked at before a run that must not stop on one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from facekit.client.photos import read_photo
from facekit.errors import PhotoError
from facekit.photos.check import check_photo
from facekit.pipelines.definitions import Node


def unusable_photos(
    folder: Path, sizes: dict[str, tuple[int, int]], threads: int
) -> dict[str, PhotoError]:
    """Look at every photo, and return what is wrong with those that DALI would stumble over.

    Args:
        folder: What their names count from.
        sizes: Width and height by name, as their labels have them.
        threads: That read.
    """
    failures, trial = {}, _Trial()

    def look(name: str) -> tuple[npt.NDArray[np.uint8] | None, PhotoError | None]:
        try:
            raw = read_photo(folder / name)
            checked = check_photo(raw)
            height, width = checked.size_hwc[:2]
            if (width, height) != sizes[name]:
                raise PhotoError(
                    "{} x {} pixels, but {} x {} in the data set".format(
                        width, height, *sizes[name]
                    )
                )
        except PhotoError as e:
            return None, PhotoError(str(e).removeprefix(f"{folder / name}: "))
        # A JPEG that passes as it is decodes anywhere; whether another does, DALI must tell.
        return (None if len(checked.data) == len(raw) else raw), None

    with ThreadPoolExecutor(threads) as pool:
        for name, (raw, error) in zip(sizes, pool.map(look, sizes), strict=True):
            found = trial.error(raw, sizes[name]) if raw is not None else error
            if found is not None:
                failures[name] = found
    return failures


class _Trial:
    """Decodes single photos, as the reader's pipeline will."""

    def __init__(self) -> None:
        self._pipeline: Any = None

    def error(self, raw: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> PhotoError | None:
        """Return what is wrong with a photo, if anything."""
        if self._pipeline is None:
            self._pipeline = _trial_pipeline()
            self._pipeline.build()
        try:
            self._pipeline.feed_input("photo", [raw])
            (output,) = self._pipeline.run()
        except RuntimeError as e:
            self._pipeline = None  # it is of no use any more
            return PhotoError(f"DALI cannot decode it: {e}")
        height, width = output.at(0).shape[:2]
        if (width, height) != size_wh:
            return PhotoError("DALI does not turn it upright")
        return None


@pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
def _trial_pipeline() -> Node:
    photo = fn.external_source(name="photo", dtype=types.UINT8, ndim=1)
    return fn.decoders.image(photo, output_type=types.RGB)
