"""The slow, obvious form of what the kit does fast: the reference its tests and bench compare with.

Every step follows TAO's published code: full 1 - IoU matrix, scikit-learn's DBSCAN on it, one loop
for NMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN

from facekit.detection.parameters import ClusteringParameters

Array = npt.NDArray[np.float64]


def decode(bbox: npt.NDArray[np.float32]) -> Array:
    """Decode all cells, (rows * columns, 4) in network pixels, row by row."""
    _, rows, columns = bbox.shape
    boxes = np.empty((rows * columns, 4))
    for j in range(rows):
        for i in range(columns):
            o = bbox[:, j, i].astype(np.float64)
            boxes[j * columns + i] = (
                16 * i + 0.5 - 35 * o[0],
                16 * j + 0.5 - 35 * o[1],
                16 * i + 0.5 + 35 * o[2],
                16 * j + 0.5 + 35 * o[3],
            )
    return boxes


def iou_matrix(boxes: Array) -> Array:
    """Intersection over union of all pairs, (N, N)."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return shared / (area[:, None] + area[None, :] - shared)


def dbscan_labels(
    boxes: Array, weights: Array, chosen: ClusteringParameters
) -> npt.NDArray[np.intp]:
    """Labels of scikit-learn's DBSCAN on the precomputed distances, coverage as weight."""
    if not len(boxes):
        return np.empty(0, np.intp)
    model = DBSCAN(
        eps=chosen.dbscan_eps + 1e-12,
        min_samples=max(int(chosen.dbscan_min_samples), 1),
        metric="precomputed",
    )
    distances = np.clip(1 - iou_matrix(boxes), 0, 1)
    return np.asarray(model.fit_predict(distances, sample_weight=weights))


def nms_kept(boxes: Array, scores: Array, threshold: float) -> list[int]:
    """Indices kept by hard NMS with the areas of TAO (one pixel more a side), best first."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        for k in kept:
            w = min(boxes[i][2], boxes[k][2]) - max(boxes[i][0], boxes[k][0]) + 1
            h = min(boxes[i][3], boxes[k][3]) - max(boxes[i][1], boxes[k][1]) + 1
            shared = max(w, 0) * max(h, 0)
            areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (boxes[i], boxes[k])]
            if shared / (sum(areas) - shared) > threshold:
                break
        else:
            kept.append(i)
    return kept


def detect(
    bbox: npt.NDArray[np.float32],
    cov: npt.NDArray[np.float32],
    size_wh: tuple[int, int],
    chosen: ClusteringParameters,
) -> tuple[Array, Array]:
    """Boxes (N, 4) in photo pixels and scores (N,) of one class, best first."""
    boxes, scores, _ = detect_classes([(bbox, cov)], size_wh, [chosen])
    return boxes, scores


def detect_classes(
    grids: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    size_wh: tuple[int, int],
    chosen: Sequence[ClusteringParameters],
) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """Boxes (N, 4) in photo pixels, scores (N,) and classes (N,), best first."""
    every = [cluster(*grid, one) for grid, one in zip(grids, chosen, strict=True)]
    boxes = np.concatenate([boxes for boxes, _ in every])
    scores = np.concatenate([scores for _, scores in every])
    classes = np.repeat(np.arange(len(every)), [len(scores) for _, scores in every])
    limits = [one.cross_class_iou_threshold for one in chosen]
    kept = one_class_a_face(boxes, scores, classes, limits)
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    width, height = size_wh
    boxes = boxes * (width / 736, height / 416, width / 736, height / 416)
    boxes = np.clip(boxes, 0, (width, height, width, height))
    seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[seen], scores[seen], classes[seen]


def cluster(
    bbox: npt.NDArray[np.float32], cov: npt.NDArray[np.float32], chosen: ClusteringParameters
) -> tuple[Array, Array]:
    """Boxes (N, 4) in network pixels and scores (N,) of one class."""
    boxes, scores = decode(bbox), cov.reshape(-1).astype(np.float64)
    use = scores > chosen.coverage_threshold
    use &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores = boxes[use], scores[use]
    if chosen.clustering_algorithm in ("DBSCAN", "HYBRID"):
        labels = dbscan_labels(boxes, scores, chosen)
        out_boxes, out_scores, members = [], [], np.zeros(len(boxes), bool)
        for label in range(labels.max(initial=-1) + 1):
            inside = labels == label
            box = (boxes[inside] * scores[inside, None]).sum(0) / scores[inside].sum()
            if scores[inside].sum() < chosen.dbscan_confidence_threshold:
                continue
            if box[3] - box[1] <= chosen.minimum_bounding_box_height:
                continue
            members |= inside
            out_boxes.append(box)
            out_scores.append(scores[inside].max())
        if chosen.clustering_algorithm == "DBSCAN":
            boxes, scores = np.reshape(out_boxes, (-1, 4)), np.array(out_scores)
        else:
            boxes, scores = boxes[members], scores[members]
    if chosen.clustering_algorithm in ("NMS", "HYBRID"):
        use = scores >= chosen.nms_confidence_threshold
        boxes, scores = boxes[use], scores[use]
        kept = nms_kept(boxes, scores, chosen.nms_iou_threshold)
        kept = [k for k in kept if boxes[k][3] - boxes[k][1] > chosen.minimum_bounding_box_height]
        boxes, scores = boxes[kept], scores[kept]
    return boxes, scores


def one_class_a_face(
    boxes: Array, scores: Array, classes: npt.NDArray[Any], thresholds: Sequence[float]
) -> list[int]:
    """Indices kept, best first: a box goes if a better one kept, of another class, overlaps it."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        others = [k for k in kept if classes[k] != classes[i]]
        overlaps = [iou_matrix(boxes[[i, k]])[0, 1] for k in others]
        if all(overlap <= thresholds[classes[i]] for overlap in overlaps):
            kept.append(i)
    return kept
