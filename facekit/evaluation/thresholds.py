"""Choosing the score from which a found box is believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.evaluation.average_precision import Curve

WANTED_PRECISION = 0.97


@dataclass(frozen=True)
class Threshold:
    """A threshold and what comes of it.

    Attributes:
        score: The least score that is believed; NaN where there is nothing to choose from.
        precision: Share of the boxes believed that are right.
        recall: Share of the faces found.
    """

    score: float
    precision: float
    recall: float


def best_thresholds(
    points: Curve, wanted_precision: float = WANTED_PRECISION
) -> dict[str, Threshold]:
    """Return the threshold of the best F1 and the lowest one that reaches a precision.

    Where no threshold reaches it, the highest one stands in its place.

    Returns:
        ``best_f1`` and ``precise``.
    """
    if not len(points.scores):
        none = Threshold(float("nan"), float("nan"), 0.0)
        return {"best_f1": none, "precise": none}
    f1 = 2 * points.precision * points.recall / np.maximum(points.precision + points.recall, 1e-9)
    reached = np.flatnonzero(points.precision >= wanted_precision)
    places = {"best_f1": int(f1.argmax()), "precise": int(reached[-1]) if len(reached) else 0}
    return {
        name: Threshold(
            float(points.scores[k]), float(points.precision[k]), float(points.recall[k])
        )
        for name, k in places.items()
    }
