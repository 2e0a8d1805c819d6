"""What the clustering is held against: scikit-learn's DBSCAN on the full 1 - IoU matrix.

The straightforward way to do what TAO does, as fast as NumPy and scikit-learn make it: nothing here
is slower than it has to be, so that the bench's ratio is a fair one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN

from facekit.contract import GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.grid import BOX_OFFSET, BOX_SCALE
from facekit.detection.parameters import ClusteringParameters

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

# Both as in TAO: a distance of exactly eps still counts as near; an empty union divides.
_EPS_SLACK = 1e-12
_AREA_SLACK = 1e-5


def detect(
    bbox: npt.NDArray[np.float32],
    cov: npt.NDArray[np.float32],
    *,
    size_wh: tuple[int, int],
    chosen: ClusteringParameters,
) -> tuple[Array, Array, Labels]:
    """Decode, cluster, average and scale the grids of one class.

    Args:
        bbox: float32 (4, rows, columns).
        cov: float32 (1, rows, columns).
        size_wh: Width and height of the upright photo in pixels.
        chosen: The parameters; ``clustering_algorithm`` must be ``DBSCAN``.

    Returns:
        Boxes (N, 4) in photo pixels, best first, their scores (N,), and the label of every cell
        that took part (M,), row by row.
    """
    boxes, scores = decode(bbox, cov, chosen.coverage_threshold)
    labels = cluster(boxes, scores, chosen)
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


def decode(
    bbox: npt.NDArray[np.float32], cov: npt.NDArray[np.float32], threshold: float
) -> tuple[Array, Array]:
    """Decode the whole grid, and keep the sound boxes of cells above the threshold.

    Returns:
        Boxes (M, 4) in network pixels and coverages (M,), row by row.
    """
    _, rows, columns = bbox.shape
    x = np.arange(columns) * GRID_STRIDE + BOX_OFFSET
    y = (np.arange(rows) * GRID_STRIDE + BOX_OFFSET)[:, None]
    left, top, right, bottom = bbox.astype(np.float64) * BOX_SCALE
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=-1).reshape(-1, 4)
    use = cov.reshape(-1) > np.float32(threshold)
    use &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[use], cov.reshape(-1)[use].astype(np.float64)


def cluster(boxes: Array, weights: Array, chosen: ClusteringParameters) -> Labels:
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
