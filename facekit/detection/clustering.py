"""Turn the boxes of many grid cells into one box a face: DBSCAN, NMS, or both.

DBSCAN runs on the distance 1 - IoU with the coverage as weight, as TAO's own code does
(tao_tensorflow1_backend, cv/detectnet_v2/postprocessor/cluster.py: scikit-learn's DBSCAN with
``metric="precomputed"``), and gives the same labels. It is written here in NumPy because only few
pairs of cells can be neighbours at all, and those are found by one sort instead of a full matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_EPS_SLACK = 1e-12
"""Added to eps by TAO, so that a distance of exactly eps still counts as near."""
_AREA_SLACK = 1e-5
"""Added to the union's area by TAO, so that empty boxes divide by something."""


def dbscan(
    boxes_xyxy: Float64Array, weights: Float64Array, *, eps: float, min_samples: float
) -> IntArray:
    """Cluster boxes that overlap, like scikit-learn's DBSCAN on the precomputed 1 - IoU matrix.

    Args:
        boxes_xyxy: float64 (N, 4), network pixels, x2 > x1 and y2 > y1.
        weights: float64 (N,), coverage of each box.
        eps: Largest distance between neighbours, 0..1.
        min_samples: Weight that the neighbourhood of a core box adds up to; cut to a whole number
            of at least 1.

    Returns:
        (N,) labels 0, 1, ... in the order of each cluster's first core box, -1 for noise.
    """
    count = len(boxes_xyxy)
    if count == 0:
        return np.empty(0, np.intp)
    owner, neighbour = _neighbours(boxes_xyxy, eps + _EPS_SLACK)
    # Every box is its own neighbour, so no group of edges is empty.
    starts = np.searchsorted(owner, np.arange(count))
    core = np.add.reduceat(weights[neighbour], starts) >= max(int(min_samples), 1)
    labels = np.full(count, count, np.intp)
    labels[core] = np.flatnonzero(core)
    while True:
        # A core box takes the lowest label around it, then that label's own label: the lowest
        # index of a cluster reaches all of it in a few rounds.
        lowest = np.minimum.reduceat(labels[neighbour], starts)
        spread = np.where(core, lowest, count)
        spread[core] = spread[spread[core]]
        if np.array_equal(spread, labels):
            break
        labels = spread
    # Border boxes join the first cluster that touches them; ``lowest`` is still of this round.
    labels = np.where(core, labels, lowest)
    roots = np.flatnonzero(labels == np.arange(count))
    ranks = np.full(count + 1, -1, np.intp)
    ranks[roots] = np.arange(len(roots))
    return ranks[labels]


def _neighbours(boxes: Float64Array, eps: float) -> tuple[IntArray, IntArray]:
    """Return all ordered pairs of boxes within ``eps``, sorted by the first of each pair.

    Two boxes with IoU of at least t have lefts no further apart than (1 - t) times the wider one's
    width, and the wider is at most 1/t times the narrower: sorted by their left edges, the
    neighbours of a box lie in one short run.
    """
    count = len(boxes)
    corners = np.ascontiguousarray(boxes.T)
    overlap = 1.0 - eps
    if overlap > 0:
        left = corners[0]
        order = np.argsort(left)
        ordered = left[order]
        reach = (corners[2] - left) * (eps / overlap) + 1e-9
        first = np.searchsorted(ordered, left - reach, "left")
        sizes = np.searchsorted(ordered, left + reach, "right") - first
        ends = np.cumsum(sizes)
        neighbour = order[np.arange(ends[-1]) + np.repeat(first - ends + sizes, sizes)]
    else:
        sizes = np.full(count, count)
        neighbour = np.tile(np.arange(count), count)
    near = _overlap_at_least(corners, sizes, neighbour, overlap)
    owner = np.repeat(np.arange(count), sizes)
    return owner[near], neighbour[near]


def _overlap_at_least(
    corners: Float64Array, sizes: IntArray, neighbour: IntArray, overlap: float
) -> npt.NDArray[np.bool_]:
    """Tell which pairs have at least this IoU.

    Box i is paired with the next ``sizes[i]`` entries of ``neighbour``. All four sides of all pairs
    are handled together, because at a few thousand pairs each call into NumPy is what costs.
    """
    one, other = np.repeat(corners, sizes, axis=1), corners.take(neighbour, axis=1)
    sides = np.minimum(one[2:], other[2:])
    sides -= np.maximum(one[:2], other[:2])
    np.maximum(sides, 0.0, out=sides)
    shared = sides[0] * sides[1]
    area = (corners[2] - corners[0]) * (corners[3] - corners[1])
    union = np.repeat(area, sizes)
    union += area.take(neighbour)
    union -= shared
    union += _AREA_SLACK
    union *= overlap
    near: npt.NDArray[np.bool_] = shared >= union
    return near


def nms(boxes_xyxy: Float64Array, scores: Float64Array, *, iou_threshold: float) -> IntArray:
    """Keep each best box and drop those that overlap it too much.

    Widths and heights count one pixel more than x2 - x1, as in TAO's and DeepStream's NMS.

    Args:
        boxes_xyxy: float64 (N, 4), network pixels.
        scores: float64 (N,).
        iou_threshold: Overlap above which the lesser box goes, 0..1.

    Returns:
        Indices of the boxes kept, best first; equal scores in the order given.
    """
    rest = np.argsort(-scores, kind="stable")
    x1, y1 = boxes_xyxy[:, 0], boxes_xyxy[:, 1]
    x2, y2 = boxes_xyxy[:, 2] + 1.0, boxes_xyxy[:, 3] + 1.0
    area = (x2 - x1) * (y2 - y1)
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        rest = rest[shared <= iou_threshold * (area[best] + area[rest] - shared)]
    return np.asarray(kept, np.intp)
