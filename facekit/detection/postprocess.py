"""From the detector's two grids to the faces of one photo."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekit.contract import GRID_STRIDE
from facekit.detection.clustering import Float64Array, dbscan, nms, nms_across_classes
from facekit.detection.grid import decode_cells
from facekit.detection.parameters import ClusteringParameters


@dataclass(frozen=True)
class Detections:
    """The objects found in one photo, best first.

    Attributes:
        boxes_xyxy: float32 (N, 4), pixels of the upright original, clipped to it.
        scores: float32 (N,), highest coverage of the box's cells, 0..1.
        class_ids: int32 (N,), lines of the label file.
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


def detect(
    bbox: npt.NDArray[np.float32],
    cov: npt.NDArray[np.float32],
    *,
    size_wh: tuple[int, int],
    parameters: Sequence[ClusteringParameters],
) -> Detections:
    """Decode, cluster, and scale to the photo.

    Each class is clustered separately, in network pixels and before clipping, so that thresholds do
    not depend on the photo's size. Then ``cross_class_iou_threshold`` is applied.

    Args:
        bbox: float32 (4 * C, rows, columns), the network's boxes; (4 * C, 26, 46) where served.
        cov: float32 (C, rows, columns), the network's coverages, 0..1.
        size_wh: Width and height of the upright original in pixels.
        parameters: One a class.
    """
    found = [
        _one_class(bbox[4 * c : 4 * c + 4], cov[c], chosen) for c, chosen in enumerate(parameters)
    ]
    boxes = np.concatenate([boxes for boxes, _ in found])
    scores = np.concatenate([scores for _, scores in found])
    class_ids = np.repeat(np.arange(len(found), dtype=np.int32), [len(s) for _, s in found])
    order = nms_across_classes(
        boxes,
        scores,
        class_ids,
        iou_thresholds=np.array([chosen.cross_class_iou_threshold for chosen in parameters]),
    )
    width, height = size_wh
    rows, columns = cov.shape[-2:]
    boxes *= np.array([width / (columns * GRID_STRIDE), height / (rows * GRID_STRIDE)] * 2)
    np.maximum(boxes, 0.0, out=boxes)
    np.minimum(boxes, np.array([width, height] * 2), out=boxes)
    # Before the check for area: a very thin box may have none in float32.
    boxes = boxes.astype(np.float32)
    # A box wholly outside the photo has no area after clipping.
    visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    order = order[visible[order]]
    return Detections(
        boxes[order], np.minimum(scores[order], 1.0).astype(np.float32), class_ids[order]
    )


def _one_class(
    bbox: npt.NDArray[np.float32], cov: npt.NDArray[np.float32], chosen: ClusteringParameters
) -> tuple[Float64Array, Float64Array]:
    """Return boxes (N, 4) in network pixels and scores (N,) of one class, in no order."""
    coverage = cov.reshape(-1)
    cells = np.flatnonzero(coverage > np.float32(chosen.coverage_threshold))
    boxes = decode_cells(bbox, cells)
    # NaN compares false, so this drops NaN boxes of a broken engine too.
    sound = boxes[:, 2:] > boxes[:, :2]
    if not sound.all():
        kept = np.flatnonzero(sound.all(axis=1))
        boxes, cells = boxes.take(kept, axis=0), cells.take(kept)
    scores = coverage.take(cells).astype(np.float64)
    if chosen.clustering_algorithm != "NMS":
        labels = dbscan(boxes, scores, eps=chosen.dbscan_eps, min_samples=chosen.dbscan_min_samples)
        clusters, sums, peaks = _summarize(boxes, scores, labels)
        passed = (sums >= chosen.dbscan_confidence_threshold) & _tall(clusters, chosen)
        if chosen.clustering_algorithm == "DBSCAN":
            return clusters[passed], peaks[passed]
        members = np.append(passed, False)[labels]
        boxes, scores = boxes[members], scores[members]
    confident = scores >= chosen.nms_confidence_threshold
    boxes, scores = boxes[confident], scores[confident]
    kept = nms(boxes, scores, iou_threshold=chosen.nms_iou_threshold)
    kept = kept[_tall(boxes[kept], chosen)]
    return boxes[kept], scores[kept]


def _tall(boxes: Float64Array, chosen: ClusteringParameters) -> npt.NDArray[np.bool_]:
    return boxes[:, 3] - boxes[:, 1] > chosen.minimum_bounding_box_height


def _summarize(
    boxes: Float64Array, scores: Float64Array, labels: npt.NDArray[np.intp]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return each cluster's coverage-weighted mean box, summed coverage and highest coverage."""
    # Noise, labeled -1, comes first when boxes are sorted by label.
    ends = np.bincount(labels + 1).cumsum()
    if len(ends) < 2:
        return np.empty((0, 4)), np.empty(0), np.empty(0)
    member = labels.argsort(kind="stable")[ends[0] :]
    starts = ends[:-1] - ends[0]
    weights = scores.take(member)
    sums = np.add.reduceat(weights, starts)
    weighted = boxes.take(member, axis=0) * weights[:, None]
    means = np.add.reduceat(weighted, starts, axis=0) / sums[:, None]
    return means, sums, np.maximum.reduceat(weights, starts)
