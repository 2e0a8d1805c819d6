"""The kit's decode and clustering beside scikit-learn's, on frames with many faces.

The reference is the straightforward way to do what TAO does: scikit-learn's DBSCAN on the full
1 - IoU matrix, as fast as NumPy makes it, so that the ratio is a fair one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN

from benchmarks.load import Grid
from benchmarks.rates import Turn, in_turns
from facekit.contract import GRID_COLUMNS, GRID_ROWS, GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.clustering import dbscan
from facekit.detection.grid import BOX_OFFSET, BOX_SCALE, encode_boxes
from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import detect
from facekit.errors import FacekitError

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

_SIZE_WH = (1280, 720)
_RUNS = 3
_BOX_TOLERANCE_PX = 1e-3
_SCORE_TOLERANCE = 1e-6
_NOISE_CELLS = 10
# Both as in TAO: a distance of exactly eps still counts as near; an empty union divides.
_EPS_SLACK = 1e-12
_AREA_SLACK = 1e-5


class UnequalError(FacekitError):
    """Two sides of a comparison do not find the same faces."""


def compare(
    frames: Sequence[tuple[Grid, Grid]], name: str, *, seconds: float, chosen: ClusteringParameters
) -> dict[str, Any]:
    """Check that both find the same, then time them in turns, with DBSCAN whatever is chosen.

    Each frame is bbox float32 (4, 26, 46) and cov float32 (1, 26, 46). The result has mean cells
    that take part and faces found, and milliseconds a frame of both. Raises UnequalError if labels,
    boxes or scores differ.
    """
    chosen = replace(chosen, clustering_algorithm="DBSCAN")

    def kit(bbox: Grid, cov: Grid) -> Any:
        return detect(bbox, cov, size_wh=_SIZE_WH, parameters=[chosen])

    def scikit_learn(bbox: Grid, cov: Grid) -> Any:
        return reference_detect(bbox, cov, size_wh=_SIZE_WH, chosen=chosen)

    counts = np.mean([_check_equal(bbox, cov, chosen) for bbox, cov in frames], axis=0)
    sides = (lambda: _time(kit, frames), lambda: _time(scikit_learn, frames))
    turns = in_turns(*sides, pairs=1, at_least_s=seconds)
    return {
        "frames": f"{len(frames)} {name}",
        "cells": float(counts[1]),
        "faces": float(counts[0]),
        "kit_ms": 1e3 / turns.ours,
        "reference_ms": 1e3 / turns.theirs,
        "ratio": turns.ratio,
    }


def _time(run: Callable[[Grid, Grid], Any], frames: Sequence[tuple[Grid, Grid]]) -> Turn:
    """Return the rate of one pass over the frames, each the median of some runs."""
    spent = []
    for frame in frames:
        run(*frame)  # does not count: it fills the caches
        times = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            run(*frame)
            times.append(time.perf_counter() - start)
        spent.append(np.median(times))
    return Turn(1 / float(np.mean(spent)), 0.0)


def _check_equal(bbox: Grid, cov: Grid, chosen: ClusteringParameters) -> tuple[int, int]:
    """Return how many faces and cells there are, the same for both."""
    boxes, scores = reference_decode(bbox, cov, chosen.coverage_threshold)
    expected = reference_labels(boxes, scores, chosen)
    labels = dbscan(boxes, scores, eps=chosen.dbscan_eps, min_samples=chosen.dbscan_min_samples)
    if not np.array_equal(labels, expected):
        raise UnequalError(f"{int((labels != expected).sum())} of {len(labels)} labels differ")
    found = detect(bbox, cov, size_wh=_SIZE_WH, parameters=[chosen])
    wanted, peaks, _ = reference_detect(bbox, cov, size_wh=_SIZE_WH, chosen=chosen)
    if len(found) != len(wanted):
        raise UnequalError(f"{len(found)} faces; the reference finds {len(wanted)}")
    if np.abs(found.boxes_xyxy - wanted).max(initial=0.0) > _BOX_TOLERANCE_PX:
        raise UnequalError("boxes differ from the reference")
    if np.abs(found.scores - peaks).max(initial=0.0) > _SCORE_TOLERANCE:
        raise UnequalError("scores differ from the reference")
    return len(found), len(boxes)


def reference_detect(
    bbox: npt.NDArray[np.float32],
    cov: npt.NDArray[np.float32],
    *,
    size_wh: tuple[int, int],
    chosen: ClusteringParameters,
) -> tuple[Array, Array, Labels]:
    """Decode, cluster, average and scale the grids of one class (see ``detect`` of the kit).

    The result is boxes (N, 4) in photo pixels, best first, their scores (N,), and the label of
    every cell that took part (M,), row by row.
    """
    boxes, scores = reference_decode(bbox, cov, chosen.coverage_threshold)
    labels = reference_labels(boxes, scores, chosen)
    count = int(labels.max(initial=-1)) + 1
    found = np.empty((count, 4))
    sums, peaks = np.empty(count), np.empty(count)
    for label in range(count):
        inside = labels == label
        weights = scores[inside]
        sums[label], peaks[label] = weights.sum(), weights.max()
        found[label] = np.average(boxes[inside], axis=0, weights=weights)
    use = sums >= chosen.dbscan_confidence_threshold
    use &= found[:, 3] - found[:, 1] > chosen.minimum_bounding_box_height
    width, height = size_wh
    found = found[use] * ((width / NETWORK_WIDTH, height / NETWORK_HEIGHT) * 2)
    found = np.clip(found, 0, (width, height, width, height))
    visible = (found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])
    found, peaks = found[visible], peaks[use][visible]
    order = np.argsort(-peaks, kind="stable")
    return found[order], peaks[order], labels


def reference_decode(
    bbox: npt.NDArray[np.float32], cov: npt.NDArray[np.float32], threshold: float
) -> tuple[Array, Array]:
    """Return boxes (M, 4) in network pixels and coverages (M,) of cells above the threshold."""
    _, rows, columns = bbox.shape
    x = np.arange(columns) * GRID_STRIDE + BOX_OFFSET
    y = (np.arange(rows) * GRID_STRIDE + BOX_OFFSET)[:, None]
    left, top, right, bottom = bbox.astype(np.float64) * BOX_SCALE
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=-1).reshape(-1, 4)
    use = cov.reshape(-1) > np.float32(threshold)
    use &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[use], cov.reshape(-1)[use].astype(np.float64)


def reference_labels(boxes: Array, weights: Array, chosen: ClusteringParameters) -> Labels:
    """Return scikit-learn's labels (M,) of boxes (M, 4) on the precomputed distances."""
    if not len(boxes):
        return np.empty(0, np.intp)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    distance = 1.0 - shared / (area[:, None] + area[None, :] - shared + _AREA_SLACK)
    np.clip(distance, 0.0, 1.0, out=distance)
    np.fill_diagonal(distance, 0.0)
    model = DBSCAN(
        eps=chosen.dbscan_eps + _EPS_SLACK,
        min_samples=max(int(chosen.dbscan_min_samples), 1),
        metric="precomputed",
    )
    labels: Labels = model.fit_predict(distance, sample_weight=weights)
    return labels


def face_grids(rng: np.random.Generator, faces: int, *, jitter: float = 0.05) -> tuple[Grid, Grid]:
    """Return made-up network outputs: faces of 16 to 200 network pixels, and noise.

    Some faces overlap, some leave the frame. Every cell in the middle of a face votes for its box,
    as DetectNet_v2 is trained to do, with a spread of ``jitter`` face sizes; a few cells elsewhere
    have coverage without a face.
    """
    bbox = rng.normal(0, 1, (4, GRID_ROWS, GRID_COLUMNS)).astype(np.float32)
    cov = np.zeros((1, GRID_ROWS, GRID_COLUMNS), np.float32)
    rows, columns = np.mgrid[:GRID_ROWS, :GRID_COLUMNS]
    for _ in range(faces):
        size = np.exp(rng.uniform(np.log(16), np.log(200)))
        center = rng.uniform((0, 0), (NETWORK_WIDTH, NETWORK_HEIGHT))
        half = size * np.array([0.5, rng.uniform(0.5, 0.8)])
        box = np.concatenate([center - half, center + half])
        near = np.abs(columns * GRID_STRIDE - center[0]) < max(half[0] * 0.7, 9)
        near &= np.abs(rows * GRID_STRIDE - center[1]) < max(half[1] * 0.7, 9)
        cells = np.flatnonzero(near)
        boxes = box + rng.normal(0, jitter * size, (len(cells), 4))
        bbox.reshape(4, -1)[:, cells] = encode_boxes(boxes, cells, GRID_COLUMNS)
        cov.reshape(-1)[cells] = rng.uniform(0.1, 1, len(cells))
    loud = rng.integers(0, cov.size, _NOISE_CELLS)
    cov.reshape(-1)[loud] = rng.uniform(0, 0.6, _NOISE_CELLS)
    return bbox, cov
