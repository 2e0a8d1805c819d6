from __future__ import annotations

import math

import numpy as np
import pytest

from facekit.evaluation.average_precision import (
    Curve,
    FrameResult,
    Threshold,
    average_precision,
    best_thresholds,
    curve,
    iou_matrix,
)

A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
CROWD = [40, 40, 90, 90]


def result(
    boxes: list[list[float]],
    scores: list[float],
    truth: list[list[float]],
    counted: list[bool] | None = None,
    forgiven: list[list[float]] | None = None,
) -> FrameResult:
    return FrameResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(truth, np.float32).reshape(-1, 4),
        np.array([True] * len(truth) if counted is None else counted, bool),
        np.ones(len(boxes), bool),
        np.array(forgiven or [], np.float32).reshape(-1, 4),
    )


def test_iou() -> None:
    first = np.array([A, FAR], np.float32)
    second = np.array([[5, 0, 15, 10]], np.float32)
    np.testing.assert_allclose(iou_matrix(first, second)[:, 0], [1 / 3, 0], atol=1e-6)
    assert iou_matrix(first[:0], second).shape == (0, 1)


@pytest.mark.parametrize(
    ("photos", "area", "sampled"),
    [
        # No photo, or no face in any: there is nothing to find.
        ([], math.nan, math.nan),
        ([result([], [], [])], math.nan, math.nan),
        ([result([A], [0.9], [])], math.nan, math.nan),
        # Nothing found, and nothing right found.
        ([result([], [], [A])], 0, 0),
        ([result([FAR], [0.9], [A])], 0, 0),
        # All found.
        ([result([A, B], [0.9, 0.8], [A, B])], 1, 1),
        # Half of the faces, no false one: recalls 0 to 0.5 are six of the eleven.
        ([result([A], [0.9], [A, B])], 0.5, 6 / 11),
        # A face is found once. Hits at ranks 1 and 3: 1/2 * 1 + 1/2 * 2/3; 6 * 1 and 5 * 2/3.
        ([result([A, A, B], [0.9, 0.8, 0.7], [A, B])], 5 / 6, (6 + 5 * 2 / 3) / 11),
        # The false one is surer: precision 1/2 at every recall.
        ([result([FAR, A], [0.9, 0.8], [A])], 0.5, 0.5),
        # Precision rises again, and the envelope lies over the dip: hits at ranks 1, 3, 4.
        (
            [result([A, FAR, B], [0.9, 0.8, 0.7], [A, B]), result([A], [0.6], [A])],
            1 / 3 + 2 / 3 * 3 / 4,
            (4 + 7 * 3 / 4) / 11,
        ),
        # Ten faces of which three are found: 0.3 is a recall that is reached.
        ([result([A, B, FAR], [0.9, 0.8, 0.7], [A, B, FAR, *[CROWD] * 7])], 0.3, 4 / 11),
        # Two of one score, one right: half are right, in whatever order they came.
        ([result([A, FAR], [0.5, 0.5], [A])], 0.5, 0.5),
        ([result([FAR, A], [0.5, 0.5], [A])], 0.5, 0.5),
        # The surest of two on one face finds it, whatever their order.
        ([result([A, A], [0.6, 0.9], [A])], 1, 1),
        # A false one in a photo without faces, or without any that count.
        ([result([FAR], [0.9], []), result([A], [0.8], [A])], 0.5, 0.5),
        ([result([FAR], [0.9], [B], [False]), result([A], [0.8], [A])], 0.5, 0.5),
        # An overlap of exactly the least one: half of A, which finds it, excuses it, is forgiven.
        ([result([[0, 0, 10, 5]], [0.9], [A])], 1, 1),
        ([result([[0, 0, 10, 5], B], [0.9, 0.8], [A, B], [False, True])], 1, 1),
        ([result([[30, 50, 50, 60], A], [0.9, 0.8], [A], None, [CROWD])], 1, 1),
        ([result([[29, 50, 50, 60], A], [0.9, 0.8], [A], None, [CROWD])], 0.5, 0.5),
        # A face not counted is neither missed nor false.
        ([result([A, B], [0.9, 0.8], [A, B], [False, True])], 1, 1),
        ([result([B], [0.8], [A, B], [False, True])], 1, 1),
        # Whatever lies in a crowd that is not labeled one by one is forgiven; beside it is not.
        ([result([FAR, FAR, A], [0.9, 0.8, 0.7], [A], None, [CROWD])], 1, 1),
        ([result([B, A], [0.9, 0.8], [A], None, [CROWD])], 0.5, 0.5),
        # A labeled face in a crowd counts.
        ([result([FAR], [0.9], [FAR], None, [CROWD])], 1, 1),
        # A box that holds the crowd is false: three quarters of it lie outside.
        ([result([[0, 0, 100, 100], A], [0.9, 0.8], [A], None, [CROWD])], 0.5, 0.5),
    ],
)
def test_average_precision(photos: list[FrameResult], area: float, sampled: float) -> None:
    points = curve(photos, 0.5)
    assert average_precision(points) == pytest.approx(area, nan_ok=True)
    assert average_precision(points, "SAMPLE") == pytest.approx(sampled, nan_ok=True)


def test_curve_at_a_threshold() -> None:
    points = curve([result([A, FAR, B], [0.9, 0.8, 0.8], [A, B])], 0.5)
    assert points.faces == 2
    np.testing.assert_allclose(points.scores, [0.9, 0.8])
    assert points.at(0.95) == (1.0, 0.0)
    assert points.at(0.85) == (1.0, 0.5)
    assert points.at(0.0) == (pytest.approx(2 / 3), 1.0)
    assert curve([], 0.5).at(0.0) == (1.0, 0.0)


def naive(outcome: list[tuple[float, bool]], faces: int, mode: str) -> float:
    """Average precision by its definition: one pass over all thresholds for every recall."""
    steps = []
    for threshold in {score for score, _ in outcome}:
        kept = [found for score, found in outcome if score >= threshold]
        steps.append((sum(kept) / faces, sum(kept) / len(kept)))

    def best(recall: float) -> float:
        return max((p for r, p in steps if r >= recall - 1e-12), default=0.0)

    if mode == "SAMPLE":
        return sum(best(k / 10) for k in range(11)) / 11
    return sum(best((k + 1) / faces) for k in range(faces)) / faces


@pytest.mark.parametrize("mode", ["SAMPLE", "INTEGRATE"])
def test_average_precision_is_that_of_its_definition(mode: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        # Faces in a row, 20 px apart; a hit lies on one of them, a false face below.
        faces, found = int(rng.integers(1, 12)), int(rng.integers(0, 20))
        columns = rng.permutation(20)[:found]
        scores = rng.integers(1, 6, found) / 8  # many alike
        right = columns < faces
        row = [[20 * c, 0, 20 * c + 10, 10] for c in range(20)]
        boxes = [
            row[c] if hit else [20 * c, 50, 20 * c + 10, 60]
            for c, hit in zip(columns, right, strict=True)
        ]
        points = curve([result(boxes, scores.tolist(), row[:faces])], 0.5)
        expected = naive(list(zip(scores.tolist(), right.tolist(), strict=True)), faces, mode)
        assert average_precision(points, mode) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_recall_equal_but_for_rounding_is_reached() -> None:
    # 3 of 10 as a sum of tenths lies above 0.3, as a quotient below a rounded 0.3.
    points = Curve(np.float32([0.5]), np.array([1.0]), np.array([0.3 - 1e-12]), 10)
    assert average_precision(points, "SAMPLE") == pytest.approx(4 / 11)


def points(precision: list[float], recall: list[float], scores: list[float]) -> Curve:
    return Curve(np.array(scores, np.float32), np.array(precision), np.array(recall), 4)


def test_the_best_f1_and_the_lowest_threshold_of_a_precision() -> None:
    curve = points(
        [1.0, 1.0, 0.75, 0.98, 0.5], [0.1, 0.2, 0.75, 0.3, 0.8], [0.9, 0.75, 0.5, 0.25, 0.125]
    )
    found = best_thresholds(curve)
    assert found["best_f1"] == Threshold(0.5, 0.75, 0.75)
    assert found["precise"] == Threshold(0.25, 0.98, 0.3)


def test_no_threshold_reaches_the_precision_or_there_is_none() -> None:
    low = points([0.5, 0.4], [0.1, 0.2], [0.75, 0.5])
    assert best_thresholds(low)["precise"] == Threshold(0.75, 0.5, 0.1)
    nothing = best_thresholds(points([], [], []))
    assert math.isnan(nothing["best_f1"].score) and nothing["precise"].recall == 0.0
