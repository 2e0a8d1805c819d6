"""Measuring an exported landmark network."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.photos import PORTRAIT_TEST_FOLDER, Photo, pts_photos
from training.detector.inference import Detector
from training.landmarks.inference import SERVED_EXPAND, Landmarker
from training.landmarks.network import INPUT_NAME
from training.metrics import iou_matrix

OUTER_EYE_CORNERS = (36, 45)
FAILURE = 0.08
"""A face whose error is larger counts as failed."""
REGIONS: dict[str, slice] = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
Array = NDArray[np.float32]


def point_errors(found: Array, true: Array) -> Array:
    """Return the distance of each point over that of the outer eye corners, float32 [68].

    Args:
        found: float32 [68, 2].
        true: float32 [68, 2].
    """
    right, left = (true[k] for k in OUTER_EYE_CORNERS)
    result: Array = np.linalg.norm(found - true, axis=1) / np.linalg.norm(right - left)
    return result


def latency(landmarker: Landmarker, batch: int, rounds: int = 30) -> float:
    """Return the median time a face of a batch in milliseconds."""
    crops = np.random.default_rng(0).random((batch, 1, 80, 80), dtype=np.float32) * 255
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        landmarker.session.run(None, {INPUT_NAME: crops})
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times)) / batch


def measure(
    landmarker: Landmarker,
    photos: list[Photo],
    choose: Callable[[Photo], Array | None],
    expand: float,
) -> Array:
    """Return the errors of the first face of each photo, float32 [photos, 68].

    Args:
        landmarker: The network.
        photos: Photos with points.
        choose: Gives the box to cut for a photo, or None: that face is left out.
        expand: Side of the crop over the box's longer side.
    """
    errors = []
    for photo in photos:
        box = choose(photo)
        if box is not None:
            points, _ = landmarker.find(photo.image, box[None], expand)
            errors.append(point_errors(points[0], photo.points[0]))
    return np.stack(errors)


def detected_box(detector: Detector, photo: Photo, threshold: float) -> Array | None:
    """Return the found box that overlaps the photo's face most, or None where none does."""
    boxes = detector.detect(photo.image, threshold).boxes_xyxy
    overlaps = iou_matrix(boxes, photo.boxes[:1])[:, 0]
    if not len(boxes) or overlaps.max() < 0.2:
        return None
    best: Array = boxes[int(overlaps.argmax())]
    return best


def evaluate(
    data: Path,
    model: Path,
    detector_model: Path | None = None,
    expand: float = SERVED_EXPAND,
    threshold: float = 0.3,
) -> dict[str, float]:
    """Measure a landmark network on the test portraits.

    Args:
        data: Folder of the face sets.
        model: The ONNX file.
        detector_model: The detector's ONNX file, to measure from detected boxes too.
        expand: Side of the crop over the box's longer side.
        threshold: Coverage threshold of the detector.

    Returns:
        Figures by name; errors as shares of the distance of the outer eye corners.
    """
    landmarker = Landmarker(model)
    photos = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
    figures: dict[str, float] = {}
    runs: dict[str, Callable[[Photo], Array | None]] = {"true boxes": lambda p: p.boxes[0]}
    if detector_model is not None:
        detector = Detector(detector_model)
        runs["detected boxes"] = lambda p: detected_box(detector, p, threshold)
    for name, choose in runs.items():
        errors = measure(landmarker, photos, choose, expand)
        figures[f"{name}: faces"] = len(errors)
        figures[f"{name}: mean error"] = float(errors.mean())
        figures[f"{name}: median error"] = float(np.median(errors.mean(axis=1)))
        figures[f"{name}: over {FAILURE:.0%}"] = float((errors.mean(axis=1) > FAILURE).mean())
        for region, part in REGIONS.items():
            figures[f"{name}: {region}"] = float(errors[:, part].mean())
    figures["latency ms, 1 thread, batch 1"] = latency(landmarker, 1)
    figures["latency ms a face, 1 thread, batch 8"] = latency(landmarker, 8)
    return figures
