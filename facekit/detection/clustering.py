"""Merge the boxes of many grid cells into one box a face, class by class: DBSCAN, NMS, or both.

DBSCAN uses the distance 1 - IoU with the coverage as weight, and gives the same labels as TAO
(tao_tensorflow1_backend, cv/detectnet_v2/postprocessor/cluster.py: scikit-learn's DBSCAN with
``metric="precomputed"``). This NumPy version finds the few pairs of cells that can be neighbors by
one sort instead of a full matrix.
"""

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_EPS_SLACK = 1e-12
"""Added to eps by TAO, so that boxes at a distance of exactly eps are neighbors."""
_AREA_SLACK = 1e-5
"""Added to the union's area by TAO, so that empty boxes do not divide by zero."""


def dbscan(
    boxes_xyxy: Float64Array, weights: Float64Array, *, eps: float, min_samples: float
) -> IntArray:
    """Cluster boxes that overlap, like scikit-learn's DBSCAN on the precomputed 1 - IoU matrix.

    Args:
        boxes_xyxy: float64 (N, 4), network pixels, x2 > x1 and y2 > y1.
        weights: float64 (N,), coverage of each box.
        eps: Largest distance between neighbors, 0..1.
        min_samples: Least total weight of a core box's neighborhood; truncated to a whole number
            of at least 1.

    Returns:
        (N,) labels 0, 1, ... in the order of each cluster's first core box, -1 for noise.
    """
    count = len(boxes_xyxy)
    if count == 0:
        return np.empty(0, np.intp)
    # Until the end all arrays are sorted by the boxes' left edges.
    order = boxes_xyxy[:, 0].argsort(kind="stable")
    back = np.empty(count, np.intp)
    back[order] = np.arange(count)
    near = _neighbors(boxes_xyxy.take(order, axis=0), eps + _EPS_SLACK)
    one, other = near
    weights = weights.take(order)
    # A box is its own neighbor too.
    around = weights + np.bincount(one, weights.take(other), count)
    around += np.bincount(other, weights.take(one), count)
    core = around >= max(int(min_samples), 1)
    if not core.all():
        inner = core[one] & core[other]
        one, other = one[inner], other[inner]
    roots = _components(count, one, other)
    labels = np.full(count, -1, np.intp)
    # Number the clusters by their first core box in the given order. NumPy keeps the last of
    # several values assigned to one index: in reverse order that is the first box.
    cores = core.take(back).nonzero()[0]
    places = back.take(cores)
    own = roots.take(places)
    first = np.empty(count, np.intp)
    first[own[::-1]] = cores[::-1]
    firsts = own[first.take(own) == cores]
    first[firsts] = np.arange(len(firsts))
    labels[places] = first.take(own)
    if len(cores) < count:
        _join_borders(labels, core, *near)
    return labels.take(back)


def _join_borders(
    labels: IntArray, core: npt.NDArray[np.bool_], one: IntArray, other: IntArray
) -> None:
    """Label every non-core box next to a core box with the lowest label of its core neighbors."""
    mixed = (core.take(one) != core.take(other)).nonzero()[0]
    if len(mixed):
        one, other = one[mixed], other[mixed]
        inner = np.where(core[one], one, other)
        border = one + other - inner
        lowest = np.full(len(labels), len(labels), np.intp)
        np.minimum.at(lowest, border, labels[inner])
        labels[border] = lowest[border]


def _components(count: int, one: IntArray, other: IntArray) -> IntArray:
    """Return for each of ``count`` boxes the lowest index among the boxes connected with it.

    The edges go from ``one``, in ascending order, to ``other``, which is higher.
    """
    roots = np.arange(count)
    # First the lowest neighbor of each (in reverse order, as above), then repeatedly that one's
    # own: this suffices for a cluster whose boxes nearly all overlap.
    roots[other[::-1]] = one[::-1]
    while True:
        further = roots.take(roots)
        if (further == roots).all():
            break
        roots = further
    # The remaining few edges connect parts of one cluster.
    low, high = roots.take(one), roots.take(other)
    apart = (low != high).nonzero()[0]
    if not len(apart):
        return roots
    parents = list(range(count))
    for edge in set(zip(low[apart].tolist(), high[apart].tolist(), strict=True)):
        a, b = (_root(parents, end) for end in edge)
        parents[max(a, b)] = min(a, b)
    return np.array([_root(parents, box) for box in range(count)]).take(roots)


def _root(parents: list[int], box: int) -> int:
    while parents[box] != box:
        box = parents[box]
    return box


def _neighbors(boxes: Float64Array, eps: float) -> tuple[IntArray, IntArray]:
    """Return every pair of boxes within ``eps`` once, the lower index first and ascending.

    The left edges of two boxes with an IoU of at least 1 - eps differ by at most eps times the
    width of the box that starts first, so a box's further neighbors directly follow it. The boxes
    are float64 (N, 4), by ascending left edge.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    width = x2 - x1
    area = width * (y2 - y1)
    following = np.arange(1, len(boxes) + 1)
    # At a distance of 1 even disjoint boxes are neighbors.
    reach = eps * width + 1e-9 if eps < 1.0 else np.inf
    sizes = x1.searchsorted(x1 + reach, "right") - following
    ends = sizes.cumsum()
    one = (following - 1).repeat(sizes)
    other = np.arange(ends[-1]) + (following - ends + sizes).repeat(sizes)
    across = np.minimum(x2.take(one), x2.take(other)) - x1.take(other)
    down = np.minimum(y2.take(one), y2.take(other)) - np.maximum(y1.take(one), y1.take(other))
    shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    total = area.take(one) + area.take(other)
    near = (1.0 - shared / (total - shared + _AREA_SLACK) <= eps).nonzero()[0]
    return one.take(near), other.take(near)


def nms(boxes_xyxy: Float64Array, scores: Float64Array, *, iou_threshold: float) -> IntArray:
    """Suppress boxes that overlap a better box.

    Widths and heights are x2 - x1 + 1, as in TAO's NMS (DeepStream's are x2 - x1).

    Args:
        boxes_xyxy: float64 (N, 4), network pixels.
        scores: float64 (N,).
        iou_threshold: IoU above which the worse box is dropped, 0..1.

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


def nms_across_classes(
    boxes_xyxy: Float64Array,
    scores: Float64Array,
    class_ids: npt.NDArray[np.int32],
    *,
    iou_thresholds: Float64Array,
) -> IntArray:
    """Suppress boxes that overlap a better box of another class: one object has one class.

    Args:
        boxes_xyxy: float64 (N, 4), network pixels, clustered class by class.
        scores: float64 (N,).
        class_ids: int32 (N,).
        iou_thresholds: float64 (C,), IoU above which a box of that class is dropped, 0..1.

    Returns:
        Indices of the boxes kept, best first; equal scores in the order given.
    """
    order = np.argsort(-scores, kind="stable")
    if (iou_thresholds >= 1.0).all():
        return order
    x1, y1, x2, y2 = boxes_xyxy.take(order, axis=0).T
    classes = class_ids.take(order)
    limits = iou_thresholds.take(classes)
    area = (x2 - x1) * (y2 - y1)
    kept = np.ones(len(order), np.bool_)
    for best in range(len(order)):
        if not kept[best]:
            continue
        width = np.minimum(x2[best], x2) - np.maximum(x1[best], x1)
        height = np.minimum(y2[best], y2) - np.maximum(y1[best], y1)
        shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
        lesser = (shared > limits * (area[best] + area - shared)) & (classes != classes[best])
        kept[best + 1 :] &= ~lesser[best + 1 :]
    return order[kept]
