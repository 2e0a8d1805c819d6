"""Average precision by class, over the faces of some sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.evaluation.average_precision import (
    Array,
    AveragePrecisionMode,
    Curve,
    FrameResult,
    average_precision,
    curve,
)

NO_CLASS = -1
"""Label of a true box whose class is not measured."""
SIZE_BANDS: tuple[tuple[float, float], ...] = (
    (0, 10),
    (10, 20),
    (20, 40),
    (40, 80),
    (80, 160),
    (160, 9999),
)
"""Ranges of face heights that are scored separately, in frame pixels: first, and first beyond."""


def frame_scale(size_wh: tuple[int, int]) -> tuple[float, float]:
    """Return network frame pixels to one pixel of a photo, along x and y.

    The frame of 736x416 holds the whole photo, stretched.
    """
    width, height = size_wh
    return NETWORK_WIDTH / width, NETWORK_HEIGHT / height


@dataclass(frozen=True)
class ClassEvaluation:
    """How a class is measured: from which overlap (IoU) on, and faces of which sizes.

    Sizes are in frame pixels, from the minimum to below the maximum.
    """

    minimum_overlap: float = 0.5
    minimum_width: float = 0.0
    maximum_width: float = 9999.0
    minimum_height: float = 0.0
    maximum_height: float = 9999.0

    def counts(self, sizes_wh: Array) -> NDArray[np.bool_]:
        """Tell which faces of float32 (N, 2), width and height in frame pixels, count."""
        low = np.array([self.minimum_width, self.minimum_height])
        high = np.array([self.maximum_width, self.maximum_height])
        result: NDArray[np.bool_] = ((sizes_wh >= low) & (sizes_wh < high)).all(axis=1)
        return result


@dataclass(frozen=True)
class ScoredPhoto:
    """The boxes found in a photo, and the true ones.

    Boxes are left, top, right, bottom, all in the same pixels.

    Attributes:
        boxes_xyxy: float32 (N, 4), found boxes.
        scores: float32 (N,).
        labels: int32 (N,), their classes.
        true_boxes_xyxy: float32 (M, 4).
        true_labels: int32 (M,), their classes; ``NO_CLASS`` for one that is not measured.
        ignored: bool (M,); such a face, and one of ``NO_CLASS``, is neither missed nor a false
            detection, whatever class is found there.
        frame_scale_xy: Network frame pixels to one pixel of the boxes, along x and y.
    """

    boxes_xyxy: Array
    scores: Array
    labels: NDArray[np.int32]
    true_boxes_xyxy: Array
    true_labels: NDArray[np.int32]
    ignored: NDArray[np.bool_]
    frame_scale_xy: tuple[float, float] = (1.0, 1.0)

    def of_class(self, label: int, how: ClassEvaluation) -> FrameResult:
        """Return the matching problem of one class alone."""
        found = self.labels == label
        ignored = self.ignored | (self.true_labels == NO_CLASS)
        true = (self.true_labels == label) & ~ignored
        return FrameResult(
            self.boxes_xyxy[found],
            self.scores[found],
            self.true_boxes_xyxy[true],
            self.counted_truth(how)[true],
            how.counts(self._frame_sizes(self.boxes_xyxy[found])),
            self.true_boxes_xyxy[ignored],
        )

    def counted_truth(self, how: ClassEvaluation) -> NDArray[np.bool_]:
        """Tell which true faces are of a class that is measured, and of a size that counts."""
        right_size = how.counts(self._frame_sizes(self.true_boxes_xyxy))
        result: NDArray[np.bool_] = right_size & ~self.ignored & (self.true_labels != NO_CLASS)
        return result

    def _frame_sizes(self, boxes_xyxy: Array) -> Array:
        scale: Array = np.array(self.frame_scale_xy, np.float32)
        sizes: Array = scale * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])
        return sizes


@dataclass(frozen=True)
class BandScore:
    """The faces of heights ``low`` to below ``high`` (pixels of the 416-pixel frame) and their AP.

    The average precision is NaN without faces.
    """

    low: float
    high: float
    faces: int
    average_precision: float


@dataclass(frozen=True)
class ClassScore:
    """How well one class is found.

    The curve ends at the lowest score of the boxes given. The average precision is 0..1, or NaN
    without counted faces; ``bands`` are the faces by size, where that was asked for.
    """

    name: str
    curve: Curve
    average_precision: float
    bands: tuple[BandScore, ...] = ()

    @property
    def precision(self) -> float:
        """Share of all found boxes that are right; NaN without any."""
        return float(self.curve.precision[-1]) if len(self.curve.scores) else float("nan")

    @property
    def recall(self) -> float:
        """Share of the faces that any box found; NaN without faces."""
        return self.curve.at(0.0)[1] if self.curve.faces else float("nan")

    @property
    def lowest_score(self) -> float:
        """Score at which the curve ends; NaN without any box."""
        return float(self.curve.scores[-1]) if len(self.curve.scores) else float("nan")


def score_classes(
    photos: Sequence[ScoredPhoto],
    names: Sequence[str],
    how: Sequence[ClassEvaluation],
    mode: AveragePrecisionMode = "INTEGRATE",
) -> list[ClassScore]:
    """Return one score a class, in the order of their names; label k is ``names[k]``.

    ``how`` has a rule for each class; ``mode`` is how the average precision is taken from a curve.
    """
    scores = []
    for label, (name, rule) in enumerate(zip(names, how, strict=True)):
        points = curve([photo.of_class(label, rule) for photo in photos], rule.minimum_overlap)
        scores.append(ClassScore(name, points, average_precision(points, mode)))
    return scores


def height_curve(
    photos: Sequence[ScoredPhoto],
    label: int,
    minimum_overlap: float,
    low: float,
    high: float = float("inf"),
) -> Curve:
    """Return the curve of one class over the faces of heights ``low`` to below ``high`` alone.

    Heights are in frame pixels; a found box is the face's from an IoU of ``minimum_overlap``.
    """
    how = ClassEvaluation(minimum_overlap, minimum_height=low, maximum_height=high)
    return curve([photo.of_class(label, how) for photo in photos], minimum_overlap)


def mean_average_precision(scores: Sequence[ClassScore]) -> float:
    """Return the mean over the classes that have faces; NaN where none has."""
    known = [s.average_precision for s in scores if s.curve.faces > 0]
    return float(np.mean(known)) if known else float("nan")
