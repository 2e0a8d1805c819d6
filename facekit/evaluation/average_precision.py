"""Average precision of detections, and precision and recall over thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FrameResult:
    """Detections and true faces of one photo.

    Attributes:
        boxes: float32 [n, 4], detected x1, y1, x2, y2.
        scores: float32 [n].
        truth: float32 [m, 4], true boxes.
        counted: bool [m]; a face not counted is neither missed nor a false detection.
        counted_boxes: bool [n]; a detection not counted is dropped unless it finds a
            counted face.
    """

    boxes: Array
    scores: Array
    truth: Array
    counted: NDArray[np.bool_]
    counted_boxes: NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """Precision and recall as the threshold falls.

    Attributes:
        scores: float32 [k], falling.
        precision: float64 [k].
        recall: float64 [k].
        faces: Number of counted faces.
    """

    scores: Array
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    faces: int

    @property
    def average_precision(self) -> float:
        """Area under the curve, precision made non-increasing (VOC 2010 and later)."""
        if len(self.scores) == 0:
            return 0.0
        ceiling = np.maximum.accumulate(self.precision[::-1])[::-1]
        widths = np.diff(np.concatenate([[0.0], self.recall]))
        return float((widths * ceiling).sum())

    def at(self, threshold: float) -> tuple[float, float]:
        """Return precision and recall of the detections that score at least ``threshold``."""
        kept = int((self.scores >= threshold).sum())
        if kept == 0:
            return 1.0, 0.0
        return float(self.precision[kept - 1]), float(self.recall[kept - 1])


def iou_matrix(first: Array, second: Array) -> Array:
    """Return the overlap of every box of [n, 4] with every box of [m, 4], float32 [n, m]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inner
    result: Array = (inner / np.maximum(union, 1e-9)).astype(np.float32)
    return result


def match(result: FrameResult, iou: float) -> list[tuple[float, bool]]:
    """Match the detections of a photo to its faces, surest first, each face once.

    Returns:
        Score and success of every detection that counts.
    """
    overlaps = iou_matrix(result.boxes, result.truth)
    free = np.ones(len(result.truth), dtype=bool)
    outcome: list[tuple[float, bool]] = []
    for index in np.argsort(-result.scores, kind="stable"):
        row = np.where(free, overlaps[index], -1.0) if len(free) else np.zeros(0)
        best_counted = np.where(result.counted, row, -1.0)
        score = float(result.scores[index])
        if len(row) and best_counted.max() >= iou:
            free[int(best_counted.argmax())] = False
            outcome.append((score, True))
        elif len(row) and overlaps[index][~result.counted].max(initial=0.0) >= iou:
            continue
        elif result.counted_boxes[index]:
            outcome.append((score, False))
    return outcome


def curve(results: Sequence[FrameResult], iou: float) -> Curve:
    """Return the precision-recall curve over all photos at an overlap threshold."""
    outcome = sorted((pair for r in results for pair in match(r, iou)), key=lambda p: -p[0])
    faces = int(sum(int(r.counted.sum()) for r in results))
    hits = np.cumsum([found for _, found in outcome]) if outcome else np.zeros(0)
    ranks = np.arange(1, len(outcome) + 1)
    scores = np.array([score for score, _ in outcome], dtype=np.float32)
    return Curve(scores, hits / np.maximum(ranks, 1), hits / max(faces, 1), faces)
