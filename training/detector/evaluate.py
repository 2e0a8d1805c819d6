"""Measuring an exported detector."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.photos import (
    PORTRAIT_TEST_FOLDER,
    Photo,
    no_face_photos,
    pts_photos,
    voc_photos,
)
from training.detector.inference import Detector
from training.detector.network import FRAME_HEIGHT, INPUT_NAME
from training.detector.proxy import group_photos
from training.metrics import Curve, FrameResult, curve

SMALLEST_COUNTED = 20.0
"""Faces of at least this height, in pixels of the 416-pixel frame, count for the target."""
SIZE_BANDS: tuple[tuple[float, float], ...] = ((10, 20), (20, 40), (40, 80), (80, 160), (160, 417))
PROXY_IOU = 0.4


@dataclass(frozen=True)
class Found:
    """A photo with what the detector found in it.

    Attributes:
        photo: The photo with its true faces.
        boxes: float32 [n, 4], found boxes, pixels of the photo.
        scores: float32 [n].
    """

    photo: Photo
    boxes: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float32]]

    def result(self, low: float = 0.0, high: float = np.inf) -> FrameResult:
        """Return the matching problem with the faces whose height lies in a band.

        Args:
            low: Smallest height in pixels of the 416-pixel frame.
            high: First height not counted.
        """
        factor = FRAME_HEIGHT / self.photo.image.height
        true = (self.photo.boxes[:, 3] - self.photo.boxes[:, 1]) * factor
        found = (self.boxes[:, 3] - self.boxes[:, 1]) * factor
        return FrameResult(
            self.boxes,
            self.scores,
            self.photo.boxes,
            (true >= low) & (true < high),
            (found >= low) & (found < high),
        )


def run(detector: Detector, photos: Iterable[Photo], gray: bool = True) -> list[Found]:
    """Detect in every photo with a low threshold."""
    found = []
    for photo in photos:
        detections = detector.detect(photo.image, gray=gray)
        found.append(Found(photo, detections.boxes_xyxy, detections.scores))
    return found


def best_thresholds(
    points: Curve, wanted_precision: float = 0.97
) -> dict[str, tuple[float, float, float]]:
    """Return the threshold of the best F1 and the lowest one that reaches a precision.

    Returns:
        For ``best_f1`` and ``precise``: threshold, precision, recall.
    """
    f1 = 2 * points.precision * points.recall / np.maximum(points.precision + points.recall, 1e-9)
    best = int(f1.argmax())
    precise = np.nonzero(points.precision >= wanted_precision)[0]
    last = int(precise[-1]) if len(precise) else 0
    return {
        name: (float(points.scores[k]), float(points.precision[k]), float(points.recall[k]))
        for name, k in (("best_f1", best), ("precise", last))
    }


def latency(detector: Detector, rounds: int = 20) -> float:
    """Return the median time of a batch of one in milliseconds."""
    frame = np.random.default_rng(0).random((1, 3, 416, 736), dtype=np.float32)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        detector.session.run(None, {INPUT_NAME: frame})
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def evaluate(data: Path, model: Path, split: str = "evaluation") -> dict[str, float]:
    """Measure a detector.

    Args:
        data: Folder of the face sets.
        model: The ONNX file.
        split: ``evaluation``, or ``calibration`` to choose thresholds.

    Returns:
        Figures by name.
    """
    detector = Detector(model)
    figures: dict[str, float] = {}
    photos = list(voc_photos(data, split))
    for name, gray in (("gray", True), ("rgb", False)):
        found = run(detector, photos, gray)
        points = curve([f.result(SMALLEST_COUNTED) for f in found], 0.5)
        figures[f"voc {name} AP50 >=20px"] = points.average_precision
        figures[f"voc {name} AP50 all"] = curve([f.result() for f in found], 0.5).average_precision
        figures[f"voc {name} faces >=20px"] = points.faces
        if gray:
            for low, high in SIZE_BANDS:
                band = curve([f.result(low, high) for f in found], 0.5)
                figures[f"voc AP50 {low}-{high}px ({band.faces})"] = band.average_precision
            for title, values in best_thresholds(points).items():
                for part, value in zip(("threshold", "precision", "recall"), values, strict=True):
                    figures[f"voc {title} {part}"] = value
            for threshold in (0.2, 0.3, 0.4, 0.5):
                precision, recall = points.at(threshold)
                figures[f"voc at {threshold} precision"] = precision
                figures[f"voc at {threshold} recall"] = recall
    if split == "evaluation":
        groups = run(detector, group_photos(data))
        points = curve([f.result() for f in groups], PROXY_IOU)
        figures[f"groups AP40 ({points.faces})"] = points.average_precision
        for threshold in (0.2, 0.3, 0.4, 0.5):
            precision, recall = points.at(threshold)
            figures[f"groups at {threshold} precision"] = precision
            figures[f"groups at {threshold} recall"] = recall
        portraits = run(detector, pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
        points = curve([f.result() for f in portraits], 0.5)
        figures["portraits AP50"] = points.average_precision
        figures["portraits recall at 0.3"] = points.at(0.3)[1]
    empty = run(detector, no_face_photos(data, split))
    for threshold in (0.2, 0.3, 0.4, 0.5):
        count = sum(int((f.scores >= threshold).sum()) for f in empty)
        figures[f"false faces at {threshold} in {len(empty)} empty photos"] = count
    figures["latency ms, 1 thread, batch 1"] = latency(detector)
    return figures

