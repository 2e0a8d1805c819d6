"""Measuring an exported detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.parameters import ClusteringParameters
from facekit.evaluation.average_precision import Curve, FrameResult, curve
from training.data.photos import (
    PORTRAIT_TEST_FOLDER,
    Photo,
    no_face_photos,
    pts_photos,
    voc_photos,
)
from training.detector.network import INPUT_NAME
from training.facenet.inference import NEARLY_ALL, Detector, served_parameters
from training.facenet.proxy import group_photos
from training.inference import latency

SMALLEST_COUNTED = 20.0
"""Faces of at least this height, in pixels of the 416-pixel frame, count for the target."""
SIZE_BANDS: tuple[tuple[float, float], ...] = ((10, 20), (20, 40), (40, 80), (80, 160), (160, 417))
PROXY_IOU = 0.4
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.65)


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
        factor = NETWORK_HEIGHT / self.photo.image.height
        true = (self.photo.boxes[:, 3] - self.photo.boxes[:, 1]) * factor
        found = (self.boxes[:, 3] - self.boxes[:, 1]) * factor
        return FrameResult(
            self.boxes,
            self.scores,
            self.photo.boxes,
            (true >= low) & (true < high),
            (found >= low) & (found < high),
        )


def run(
    detector: Detector,
    photos: Iterable[Photo],
    parameters: Sequence[ClusteringParameters],
    gray: bool = True,
) -> list[Found]:
    """Detect in every photo."""
    found = []
    for photo in photos:
        detections = detector.detect(photo.image, parameters, gray)
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


def sweep(points: Curve) -> dict[str, float]:
    """Return precision and recall over thresholds, to choose one by."""
    figures = {}
    for title, values in best_thresholds(points).items():
        for part, value in zip(("threshold", "precision", "recall"), values, strict=True):
            figures[f"{title} {part}"] = value
    for threshold in THRESHOLDS:
        precision, recall = points.at(threshold)
        figures[f"at {threshold} precision"] = precision
        figures[f"at {threshold} recall"] = recall
    return figures


def evaluate(data: Path, model: Path, split: str = "evaluation") -> dict[str, float]:
    """Measure a detector.

    The network alone is measured by its average precision, from boxes of nearly any coverage.
    What is called served has the clustering of the model repository.

    Args:
        data: Folder of the face sets.
        model: The ONNX file.
        split: ``evaluation``, or ``calibration`` to choose thresholds; only the latter gives
            figures to choose by.

    Returns:
        Figures by name.
    """
    detector = Detector(model)
    served = served_parameters()
    figures: dict[str, float] = {}

    def add(
        name: str, photos: list[Photo], iou: float, smallest: float = 0.0, gray: bool = True
    ) -> tuple[list[Found], Curve]:
        found = run(detector, photos, [NEARLY_ALL], gray)
        points = curve([f.result(smallest) for f in found], iou)
        figures[f"{name}: faces"] = points.faces
        figures[f"{name}: AP{100 * iou:.0f}"] = points.average_precision
        kept = run(detector, photos, served, gray)
        final = curve([f.result(smallest) for f in kept], iou)
        figures[f"{name}, served: AP{100 * iou:.0f}"] = final.average_precision
        figures[f"{name}, served: precision"], figures[f"{name}, served: recall"] = final.at(0.0)
        return found, points

    crowds = list(voc_photos(data, split))
    add("voc rgb, 20 px or more", crowds, 0.5, SMALLEST_COUNTED, gray=False)
    add("voc gray, all", crowds, 0.5)
    found, points = add("voc gray, 20 px or more", crowds, 0.5, SMALLEST_COUNTED)
    for low, high in SIZE_BANDS:
        band = curve([f.result(low, high) for f in found], 0.5)
        figures[f"voc gray, {low}-{high} px ({band.faces}): AP50"] = band.average_precision
    if split == "calibration":
        figures.update(sweep(points))
    else:
        add("made-up groups", list(group_photos(data)), PROXY_IOU)
        portraits = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
        add("portraits", portraits, 0.5)
    empty = list(no_face_photos(data, split))
    false = [len(f.scores) for f in run(detector, empty, served)]
    figures["without faces: photos"] = len(false)
    figures["without faces, served: false faces"] = sum(false)
    figures["without faces, served: photos with one"] = sum(count > 0 for count in false)
    frame = np.random.default_rng(0).random((1, 3, NETWORK_HEIGHT, NETWORK_WIDTH), np.float32)
    figures["latency ms, 1 thread, batch 1"] = latency(detector.session, {INPUT_NAME: frame})
    return figures
