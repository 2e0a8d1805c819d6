"""Measuring an exported detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import Detections
from facekit.evaluation.average_precision import Curve, average_precision, best_thresholds
from facekit.evaluation.class_scores import SIZE_BANDS, ScoredPhoto, frame_scale, height_curve
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
PROXY_IOU = 0.4
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.65)


def run(
    detector: Detector,
    photos: Iterable[Photo],
    parameters: Sequence[ClusteringParameters],
    gray: bool = True,
) -> list[ScoredPhoto]:
    """Detect in every photo; all faces are of one class."""
    return [_scored(photo, detector.detect(photo.image, parameters, gray)) for photo in photos]


def _scored(photo: Photo, found: Detections) -> ScoredPhoto:
    count = len(photo.boxes)
    return ScoredPhoto(
        found.boxes_xyxy,
        found.scores,
        np.zeros(len(found.scores), np.int32),
        photo.boxes,
        np.zeros(count, np.int32),
        np.zeros(count, bool),
        frame_scale(photo.image.size),
    )


def sweep(points: Curve) -> dict[str, float]:
    """Return precision and recall over thresholds, to choose one by."""
    figures = {}
    for title, best in best_thresholds(points).items():
        figures[f"{title} threshold"] = best.score
        figures[f"{title} precision"] = best.precision
        figures[f"{title} recall"] = best.recall
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
    ) -> tuple[list[ScoredPhoto], Curve]:
        found = run(detector, photos, [NEARLY_ALL], gray)
        points = height_curve(found, 0, iou, smallest)
        figures[f"{name}: faces"] = points.faces
        figures[f"{name}: AP{100 * iou:.0f}"] = average_precision(points)
        kept = run(detector, photos, served, gray)
        final = height_curve(kept, 0, iou, smallest)
        figures[f"{name}, served: AP{100 * iou:.0f}"] = average_precision(final)
        figures[f"{name}, served: precision"], figures[f"{name}, served: recall"] = final.at(0.0)
        return found, points

    crowds = list(voc_photos(data, split))
    add("voc rgb, 20 px or more", crowds, 0.5, SMALLEST_COUNTED, gray=False)
    add("voc gray, all", crowds, 0.5)
    found, points = add("voc gray, 20 px or more", crowds, 0.5, SMALLEST_COUNTED)
    for low, high in SIZE_BANDS[1:]:
        band = height_curve(found, 0, 0.5, low, high)
        figures[f"voc gray, from {low} px ({band.faces}): AP50"] = average_precision(band)
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
