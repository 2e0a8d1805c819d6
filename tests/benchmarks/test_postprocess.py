"""The fast reference equals the slow one; the comparison notices a difference."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import postprocess
from benchmarks.postprocess import face_grids
from facekit.detection.parameters import ClusteringParameters
from tests import reference as slow

SIZE_WH = (1000, 700)
CHOSEN = ClusteringParameters()


@pytest.mark.parametrize("seed", range(12))
def test_reference_equals_the_slow_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bbox, cov = face_grids(rng, int(rng.integers(0, 30)), jitter=float(rng.choice([0.02, 0.2])))
    chosen = ClusteringParameters(
        dbscan_eps=float(rng.choice([0.2, 0.3, 0.6])),
        dbscan_min_samples=float(rng.choice([1, 3])),
    )
    boxes, scores, labels = postprocess.reference_detect(bbox, cov, size_wh=SIZE_WH, chosen=chosen)
    expected_boxes, expected_scores = slow.detect(bbox, cov, SIZE_WH, chosen)
    np.testing.assert_allclose(boxes, expected_boxes, atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores)
    cells, weights = postprocess.reference_decode(bbox, cov, chosen.coverage_threshold)
    np.testing.assert_array_equal(labels, slow.dbscan_labels(cells, weights, chosen))


def test_reference_decode_equals_the_slow_form() -> None:
    bbox, _ = face_grids(np.random.default_rng(0), 5)
    everywhere = np.ones((1, *bbox.shape[1:]), np.float32)
    boxes, _ = postprocess.reference_decode(np.abs(bbox) + 1, everywhere, 0.0)
    np.testing.assert_allclose(boxes, slow.decode(np.abs(bbox) + 1))


def test_compare_reports_both_times_and_what_was_found() -> None:
    rng = np.random.default_rng(0)
    result = postprocess.compare([face_grids(rng, 10)] * 2, "frames", seconds=0.01, chosen=CHOSEN)
    assert result["frames"] == "2 frames"
    assert result["cells"] > result["faces"] > 0
    assert result["ratio"] == pytest.approx(result["reference_ms"] / result["kit_ms"])


def test_compare_refuses_unequal_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = face_grids(np.random.default_rng(0), 10)
    right = postprocess.reference_labels

    def wrong(boxes: np.ndarray, weights: np.ndarray, chosen: ClusteringParameters) -> np.ndarray:
        labels = right(boxes, weights, chosen).copy()
        labels[0] += 1
        return labels

    monkeypatch.setattr(postprocess, "reference_labels", wrong)
    with pytest.raises(postprocess.UnequalError, match="1 of .* labels differ"):
        postprocess.compare([frame], "frames", seconds=0.01, chosen=CHOSEN)
