"""The fast postprocess gives what the reference gives, on many random grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.postprocess import face_grids
from facekit.detection.clustering import dbscan, nms_across_classes
from facekit.detection.grid import decode_cells, encode_boxes
from facekit.detection.parameters import ALGORITHMS, ClusteringParameters
from facekit.detection.postprocess import detect
from tests import reference

SIZE_WH = (1280, 853)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("faces", [0, 1, 10, 60])
def test_detect_random_grids_equal_reference(algorithm: str, faces: int) -> None:
    rng = np.random.default_rng(faces)
    for _ in range(12):
        bbox, cov = face_grids(rng, faces, jitter=rng.choice([0.02, 0.08, 0.2]))
        chosen = ClusteringParameters(
            clustering_algorithm=algorithm,
            coverage_threshold=rng.choice([0.005, 0.2]),
            dbscan_eps=rng.choice([0.15, 0.3, 0.5, 0.8, 1.0]),
            dbscan_min_samples=rng.choice([0.05, 1, 2, 4]),
            dbscan_confidence_threshold=rng.choice([0.2, 0.9]),
        )
        found = detect(bbox, cov, size_wh=SIZE_WH, parameters=[chosen])
        boxes, scores = reference.detect(bbox, cov, SIZE_WH, chosen)
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)
        np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=1e-3)


@pytest.mark.parametrize("seed", range(30))
def test_dbscan_random_boxes_equal_scikit_learn_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 400))
    corners = rng.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 120, (count, 2))], axis=1)
    weights = rng.uniform(0, 1, count)
    chosen = ClusteringParameters(
        dbscan_eps=float(rng.uniform(0.05, 0.95)), dbscan_min_samples=float(rng.integers(1, 4))
    )
    labels = dbscan(boxes, weights, eps=chosen.dbscan_eps, min_samples=chosen.dbscan_min_samples)
    np.testing.assert_array_equal(labels, reference.dbscan_labels(boxes, weights, chosen))


def test_dbscan_eps_0_and_equal_boxes() -> None:
    # Only identical boxes are near each other, and every box is near itself.
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]], float)
    labels = dbscan(boxes, np.array([0.5, 1.0, 0.5]), eps=0.0, min_samples=1)
    assert labels.tolist() in ([-1, 0, -1], [0, 1, 0])


def test_dbscan_eps_1_joins_everything() -> None:
    boxes = np.array([[0, 0, 10, 10], [500, 300, 510, 310], [90, 0, 99, 10]], float)
    assert dbscan(boxes, np.ones(3), eps=1.0, min_samples=1).tolist() == [0, 0, 0]


def test_dbscan_border_boxes_join_the_first_cluster_that_touches_them() -> None:
    # Two pairs of boxes, and one between them that is near both but carries no weight of its own.
    left = np.array([0.0, 4.0, 2.0, -2.0, 6.0])
    boxes = np.stack([left, np.zeros(5), left + 20, np.full(5, 20.0)], axis=1)
    weights = np.array([0.45, 0.45, 0.0, 0.6, 0.6])
    labels = dbscan(boxes, weights, eps=0.2, min_samples=1)
    assert labels.tolist() == [0, 1, 0, 0, 1]
    chosen = ClusteringParameters(dbscan_eps=0.2)
    np.testing.assert_array_equal(labels, reference.dbscan_labels(boxes, weights, chosen))


def test_dbscan_chain_of_boxes_is_one_cluster() -> None:
    # Each box overlaps only the next: the label has to travel the whole chain.
    left = np.arange(200) * 2.0
    boxes = np.stack([left, np.zeros(200), left + 20, np.full(200, 20.0)], axis=1)
    shuffled = np.random.default_rng(0).permutation(200)
    labels = dbscan(boxes[shuffled], np.ones(200), eps=0.2, min_samples=1)
    assert set(labels) == {0}


def test_two_adjacent_faces_stay_two() -> None:
    # The seed's Euclidean metric on matrix rows loses these; IoU distances find both.
    boxes = np.array([[100, 100, 160, 160], [102, 100, 162, 160]], float)
    boxes = np.concatenate([boxes, boxes + (40, 0, 40, 0)])
    labels = dbscan(boxes, np.full(4, 0.9), eps=0.3, min_samples=1)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])


def test_decode_inverts_encode() -> None:
    rng = np.random.default_rng(1)
    cells = rng.integers(0, 26 * 46, 50)
    boxes = rng.uniform(-50, 800, (50, 4))
    bbox = np.zeros((4, 26, 46), np.float32)
    cells, first = np.unique(cells, return_index=True)
    bbox.reshape(4, -1)[:, cells] = encode_boxes(boxes[first], cells, 46)
    np.testing.assert_allclose(decode_cells(bbox, cells), boxes[first], atol=1e-3)


def test_decode_golden_cell() -> None:
    bbox = np.zeros((4, 26, 46), np.float32)
    bbox[:, 2, 3] = (1, 2, 3, 4)
    cell = np.array([2 * 46 + 3])
    np.testing.assert_allclose(decode_cells(bbox, cell), [[13.5, -37.5, 153.5, 172.5]])


def test_detect_drops_inverted_nan_and_invisible_boxes() -> None:
    bbox = np.full((4, 26, 46), -1.0, np.float32)  # x2 < x1 everywhere
    bbox[:, 0, 0] = np.nan
    bbox[:, 5, 5] = (9, 9, -4, 9)  # sound, but wholly left of the frame
    bbox[:, 10, 10] = 1.0
    cov = np.ones((1, 26, 46), np.float32)
    found = detect(bbox, cov, size_wh=(736, 416), parameters=[ClusteringParameters()])
    np.testing.assert_allclose(found.boxes_xyxy, [[125.5, 125.5, 195.5, 195.5]], atol=1e-3)


def test_detect_classes_cluster_apart_and_merge_by_score() -> None:
    bbox = np.ones((8, 26, 46), np.float32)
    cov = np.zeros((2, 26, 46), np.float32)
    cov[0, 5, 5], cov[1, 5, 5], cov[1, 20, 20] = 0.95, 0.99, 0.91
    found = detect(
        bbox,
        cov,
        size_wh=(736, 416),
        parameters=[
            ClusteringParameters(dbscan_confidence_threshold=0.5, clustering_algorithm="NMS"),
            ClusteringParameters(dbscan_confidence_threshold=0.5, clustering_algorithm="NMS"),
        ],
    )
    assert found.class_ids.tolist() == [1, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.99, 0.95, 0.91])


def two_class_grids(
    rng: np.random.Generator, faces: int
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Grids of two classes, the second partly on the faces of the first."""
    one, other = face_grids(rng, faces), face_grids(rng, faces)
    mixed = rng.uniform(size=(26, 46)) < 0.5
    bbox = np.where(mixed, one[0], other[0])
    cov = np.where(mixed, one[1] * rng.uniform(0.3, 1), other[1])
    grids = [one, (bbox.astype(np.float32), cov.astype(np.float32))]
    return np.concatenate([g[0] for g in grids]), np.concatenate([g[1] for g in grids]), grids


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("faces", [0, 1, 10, 40])
def test_detect_two_classes_equal_the_reference_of_each(algorithm: str, faces: int) -> None:
    rng = np.random.default_rng(faces)
    for _ in range(8):
        bbox, cov, grids = two_class_grids(rng, faces)
        chosen = [
            ClusteringParameters(clustering_algorithm=algorithm, coverage_threshold=0.2),
            ClusteringParameters(
                clustering_algorithm=algorithm, coverage_threshold=0.1, nms_iou_threshold=0.6
            ),
        ]
        found = detect(bbox, cov, size_wh=SIZE_WH, parameters=chosen)
        assert (np.diff(found.scores) <= 0).all()
        for limits in ((0.4, 0.4), (0.0, 1.0)):
            narrowed = [
                replace(one, cross_class_iou_threshold=limit)
                for one, limit in zip(chosen, limits, strict=True)
            ]
            fewer = detect(bbox, cov, size_wh=SIZE_WH, parameters=narrowed)
            boxes, scores, classes = reference.detect_classes(grids, SIZE_WH, narrowed)
            assert fewer.class_ids.tolist() == classes.tolist()
            np.testing.assert_allclose(fewer.scores, scores, atol=1e-6)
            np.testing.assert_allclose(fewer.boxes_xyxy, boxes, atol=1e-3)
        for label, (grid, parameters) in enumerate(zip(grids, chosen, strict=True)):
            boxes, scores = reference.detect(*grid, SIZE_WH, parameters)
            mine = found.class_ids == label
            np.testing.assert_allclose(found.scores[mine], scores, atol=1e-6)
            np.testing.assert_allclose(found.boxes_xyxy[mine], boxes, atol=1e-3)


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.0, 0.0), (0.3, 1.0), (1.0, 0.2)])
def test_nms_across_classes_random_boxes_equal_reference(thresholds: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    dropped = 0
    for count in (0, 1, 2, 10, 60):
        corners = rng.uniform(0, 150, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(30, 90, (count, 2))], axis=1)
        scores, classes = rng.uniform(0, 1, count), rng.integers(0, 2, count).astype(np.int32)
        kept = nms_across_classes(boxes, scores, classes, iou_thresholds=np.array(thresholds))
        assert kept.tolist() == reference.one_class_a_face(boxes, scores, classes, [*thresholds])
        dropped += count - len(kept)
    assert dropped > 0


def test_detect_keeps_what_a_face_is_surest_to_be_where_asked() -> None:
    bbox = np.ones((8, 26, 46), np.float32)
    cov = np.zeros((2, 26, 46), np.float32)
    # One face as both classes, another as the second alone.
    cov[0, 5, 5], cov[1, 5, 5], cov[1, 20, 20] = 0.9, 0.8, 0.7
    for threshold, classes in ((1.0, [0, 1, 1]), (0.5, [0, 1])):
        chosen = ClusteringParameters(
            clustering_algorithm="NMS", cross_class_iou_threshold=threshold
        )
        found = detect(bbox, cov, size_wh=(736, 416), parameters=[chosen, chosen])
        assert found.class_ids.tolist() == classes
