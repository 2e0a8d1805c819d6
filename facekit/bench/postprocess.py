"""The kit's decode and clustering beside the scikit-learn reference, on frames with many faces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from facekit.bench import reference
from facekit.bench.grids import Grid
from facekit.detection.clustering import dbscan
from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import detect
from facekit.errors import FacekitError

_SIZE_WH = (1280, 720)
_RUNS = 3
_BOX_TOLERANCE_PX = 1e-3


@dataclass(frozen=True)
class PostprocessResult:
    """Times of one frame, median of many runs, mean over the frames.

    Attributes:
        frames: Which frames, how many.
        cells: Mean number of cells that take part.
        faces: Mean number of faces found.
        kit_ms: The kit's time of a frame.
        reference_ms: The reference's.
        ratio: How many times faster the kit is.
    """

    frames: str
    cells: float
    faces: float
    kit_ms: float
    reference_ms: float
    ratio: float


class UnequalError(FacekitError):
    """The kit and the reference do not find the same."""


def compare(
    frames: Sequence[tuple[Grid, Grid]],
    name: str,
    *,
    seconds: float,
    chosen: ClusteringParameters,
) -> PostprocessResult:
    """Check that both find the same, then time them in turns.

    Args:
        frames: bbox float32 (4, 26, 46) and cov float32 (1, 26, 46) each.
        name: What the report calls the frames.
        seconds: How long to repeat; both run as often, each after a run that does not count.
        chosen: The clustering's parameters; the algorithm is DBSCAN whatever they say.

    Raises:
        UnequalError: Labels, boxes or scores differ.
    """
    chosen = replace(chosen, clustering_algorithm="DBSCAN")

    def kit(bbox: Grid, cov: Grid) -> Any:
        return detect(bbox, cov, size_wh=_SIZE_WH, parameters=[chosen])

    def scikit_learn(bbox: Grid, cov: Grid) -> Any:
        return reference.detect(bbox, cov, size_wh=_SIZE_WH, chosen=chosen)

    faces, cells = [], []
    for bbox, cov in frames:
        found, count = _check_equal(bbox, cov, chosen)
        faces.append(found)
        cells.append(count)
    times: list[list[list[float]]] = [[[] for _ in frames] for _ in range(2)]
    end = time.perf_counter() + seconds
    while True:
        for k, frame in enumerate(frames):
            for way, run in enumerate((kit, scikit_learn)):
                run(*frame)  # neither starts on what the other left in the caches
                times[way][k] += [_time(run, frame) for _ in range(_RUNS)]
        if time.perf_counter() >= end:
            break
    kit_ms, reference_ms = (np.mean([np.median(t) for t in way]) * 1e3 for way in times)
    return PostprocessResult(
        frames=f"{len(frames)} {name}",
        cells=float(np.mean(cells)),
        faces=float(np.mean(faces)),
        kit_ms=float(kit_ms),
        reference_ms=float(reference_ms),
        ratio=float(reference_ms / kit_ms),
    )


def _check_equal(bbox: Grid, cov: Grid, chosen: ClusteringParameters) -> tuple[int, int]:
    """Return how many faces and cells there are, the same for both."""
    boxes, scores = reference.decode(bbox, cov, chosen.coverage_threshold)
    expected = reference.cluster(boxes, scores, chosen)
    labels = dbscan(boxes, scores, eps=chosen.dbscan_eps, min_samples=chosen.dbscan_min_samples)
    if not np.array_equal(labels, expected):
        raise UnequalError(f"{int((labels != expected).sum())} of {len(labels)} labels differ")
    found = detect(bbox, cov, size_wh=_SIZE_WH, parameters=[chosen])
    wanted, peaks, _ = reference.detect(bbox, cov, size_wh=_SIZE_WH, chosen=chosen)
    if len(found) != len(wanted):
        raise UnequalError(f"{len(found)} faces; the reference finds {len(wanted)}")
    if np.abs(found.boxes_xyxy - wanted).max(initial=0.0) > _BOX_TOLERANCE_PX:
        raise UnequalError("boxes differ from the reference")
    if np.abs(found.scores - peaks).max(initial=0.0) > 1e-6:
        raise UnequalError("scores differ from the reference")
    return len(found), len(boxes)


def _time(run: Callable[[Grid, Grid], Any], frame: tuple[Grid, Grid]) -> float:
    start = time.perf_counter()
    run(*frame)
    return time.perf_counter() - start
