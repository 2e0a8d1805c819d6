"""Average precision of detections, precision and recall over thresholds, and choosing one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
AveragePrecisionMode = Literal["SAMPLE", "INTEGRATE"]
"""``SAMPLE`` as PASCAL VOC before 2010, ``INTEGRATE`` as VOC since (names of TAO's specs)."""

SAMPLED_RECALLS = np.arange(11) / 10
"""The recalls at which ``SAMPLE`` reads the precision (PASCAL VOC 2007)."""
WANTED_PRECISION = 0.97


def _no_boxes() -> Array:
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class FrameResult:
    """Detections and true faces of one photo, boxes as x1, y1, x2, y2.

    Attributes:
        boxes: float32 [n, 4], detected.
        scores: float32 [n].
        truth: float32 [m, 4], true boxes.
        counted: bool [m]; a face not counted is neither missed nor a false detection.
        counted_boxes: bool [n]; a detection not counted is dropped unless it finds a
            counted face.
        forgiven: float32 [k, 4], boxes around what is not labeled one by one; a detection that
            lies in one of them is not a false detection.
    """

    boxes: Array
    scores: Array
    truth: Array
    counted: NDArray[np.bool_]
    counted_boxes: NDArray[np.bool_]
    forgiven: Array = field(default_factory=_no_boxes)


@dataclass(frozen=True)
class Curve:
    """Precision and recall, float64 [k], of the detections down to each of the scores.

    The scores, float32 [k], fall, each once; ``faces`` is the number of counted faces.
    """

    scores: Array
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    faces: int

    def at(self, threshold: float) -> tuple[float, float]:
        """Return precision and recall of the detections that score at least ``threshold``."""
        kept = int((self.scores >= threshold).sum())
        if kept == 0:
            return 1.0, 0.0
        return float(self.precision[kept - 1]), float(self.recall[kept - 1])


@dataclass(frozen=True)
class Threshold:
    """The least score that is kept (NaN for none), with the precision and recall it gives."""

    score: float
    precision: float
    recall: float


def best_thresholds(points: Curve) -> dict[str, Threshold]:
    """Return two thresholds: ``best_f1``, and ``precise`` for a precision of ``WANTED_PRECISION``.

    The latter is the lowest one that reaches it, or the highest of all where none does.
    """
    if not len(points.scores):
        none = Threshold(float("nan"), float("nan"), 0.0)
        return {"best_f1": none, "precise": none}
    f1 = 2 * points.precision * points.recall / np.maximum(points.precision + points.recall, 1e-9)
    reached = np.flatnonzero(points.precision >= WANTED_PRECISION)
    places = {"best_f1": int(f1.argmax()), "precise": int(reached[-1]) if len(reached) else 0}
    columns = (points.scores, points.precision, points.recall)
    return {name: Threshold(*(float(c[k]) for c in columns)) for name, k in places.items()}


def average_precision(points: Curve, mode: AveragePrecisionMode = "INTEGRATE") -> float:
    """Return the average precision under the curve's envelope, 0..1; NaN without counted faces.

    The envelope at a recall is the best precision at that recall or a larger one, and 0 past the
    curve's end: faces that a server's threshold holds back count as missed. ``INTEGRATE`` is the
    area under the envelope, ``SAMPLE`` the envelope's mean at the recalls 0, 0.1, ... 1.
    """
    if points.faces == 0:
        return float("nan")
    envelope = np.maximum.accumulate(points.precision[::-1])[::-1]
    if mode == "INTEGRATE":
        return float((np.diff(points.recall, prepend=0.0) * envelope).sum())
    # A recall is a share of whole faces: what is equal but for rounding counts as reached.
    places = np.searchsorted(points.recall, SAMPLED_RECALLS - 1e-9)
    return float(np.append(envelope, 0.0)[places].mean())


def _intersections(first: Array, second: Array) -> Array:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    result: Array = np.clip(high - low, 0, None).prod(axis=2)
    return result


def _areas(boxes: Array) -> Array:
    result: Array = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return result


def iou_matrix(first: Array, second: Array) -> Array:
    """Return the overlap (IoU) of every box of [n, 4] with every box of [m, 4], float32 [n, m]."""
    inner = _intersections(first, second)
    union = _areas(first)[:, None] + _areas(second)[None, :] - inner
    result: Array = (inner / np.maximum(union, 1e-9)).astype(np.float32)
    return result


def match(result: FrameResult, iou: float) -> list[tuple[float, bool]]:
    """Match the detections of a photo to its faces, surest first, each face once.

    Returns score and success of every detection that counts.
    """
    if len(result.boxes) == 0 or not (result.counted.any() or result.counted_boxes.any()):
        return []  # most photos, where one class and one size of faces are looked at
    overlaps = iou_matrix(result.boxes, result.truth)
    inside = _intersections(result.boxes, result.forgiven).max(axis=1, initial=0.0)
    forgiven = inside >= iou * np.maximum(_areas(result.boxes), 1e-9)
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
        elif result.counted_boxes[index] and not forgiven[index]:
            outcome.append((score, False))
    return outcome


def curve(results: Sequence[FrameResult], iou: float) -> Curve:
    """Return the precision-recall curve over all photos at an overlap threshold."""
    outcome = [pair for result in results for pair in match(result, iou)]
    faces = int(sum(int(result.counted.sum()) for result in results))
    scores = np.array([score for score, _ in outcome], dtype=np.float32)
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    hits = np.cumsum(np.array([found for _, found in outcome], dtype=bool)[order])
    # Detections of one score pass a threshold together; a quantized network gives many such.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    precision = hits[last] / (last + 1)
    return Curve(scores[last], precision, hits[last] / max(faces, 1), faces)
