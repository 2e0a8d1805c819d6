from __future__ import annotations

import math

import numpy as np

from facekit.evaluation.average_precision import Curve, Threshold, best_thresholds


def points(precision: list[float], recall: list[float], scores: list[float]) -> Curve:
    return Curve(np.array(scores, np.float32), np.array(precision), np.array(recall), 4)


def test_the_best_f1_and_the_lowest_threshold_of_a_precision() -> None:
    curve = points(
        [1.0, 1.0, 0.75, 0.98, 0.5], [0.1, 0.2, 0.75, 0.3, 0.8], [0.9, 0.75, 0.5, 0.25, 0.125]
    )
    found = best_thresholds(curve)
    assert found["best_f1"] == Threshold(0.5, 0.75, 0.75)
    assert found["precise"] == Threshold(0.25, 0.98, 0.3)
    assert best_thresholds(curve, 0.99)["precise"] == Threshold(0.75, 1.0, 0.2)


def test_no_threshold_reaches_the_precision_or_there_is_none() -> None:
    low = points([0.5, 0.4], [0.1, 0.2], [0.75, 0.5])
    assert best_thresholds(low)["precise"] == Threshold(0.75, 0.5, 0.1)
    nothing = best_thresholds(points([], [], []))
    assert math.isnan(nothing["best_f1"].score) and nothing["precise"].recall == 0.0
