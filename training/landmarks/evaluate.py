"""Measuring an exported landmark network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.contract import CROP_SIDE
from facekit.detection.parameters import ClusteringParameters
from facekit.evaluation.average_precision import iou_matrix
from training.data.photos import PORTRAIT_TEST_FOLDER, Photo, pts_photos
from training.facenet.inference import Detector, served_parameters
from training.inference import latency
from training.landmarks.inference import Landmarker
from training.landmarks.network import INPUT_NAME

OUTER_EYE_CORNERS = (36, 45)
FAILURE = 0.08
"""A face whose error is larger counts as failed."""
ON_FACE = 0.2
"""Overlap from which a found box lies on a face: low, so that bad boxes count in the errors."""
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


def detected_box(
    detector: Detector, photo: Photo, parameters: Sequence[ClusteringParameters]
) -> Array | None:
    """Return the surest found box that lies on the photo's face, or None: the face is missed."""
    boxes = detector.detect(photo.image, parameters).boxes_xyxy
    on_face = np.flatnonzero(iou_matrix(boxes, photo.boxes[:1])[:, 0] >= ON_FACE)
    if not len(on_face):
        return None
    surest: Array = boxes[on_face[0]]
    return surest


def measure(
    landmarker: Landmarker, photos: list[Photo], choose: Callable[[Photo], Array | None]
) -> dict[str, float]:
    """Measure on the first face of each photo.

    Args:
        landmarker: The network.
        photos: Photos with points.
        choose: Gives the box to cut for a photo, or None where the face is missed.

    Returns:
        Figures by name. Errors are over the faces that are not missed; the share of failed
        faces is over all, and a missed face has failed.
    """
    found = []
    for photo in photos:
        box = choose(photo)
        if box is not None:
            points, _ = landmarker.find(photo.image, box[None])
            found.append(point_errors(points[0], photo.points[0]))
    missed = len(photos) - len(found)
    errors = np.stack(found) if found else np.full((1, 68), np.nan, np.float32)
    failed = int((errors.mean(axis=1) > FAILURE).sum()) + missed
    return {
        "faces": len(photos),
        "missed": missed,
        "mean error": float(errors.mean()),
        "median error": float(np.median(errors.mean(axis=1))),
        **{region: float(errors[:, part].mean()) for region, part in REGIONS.items()},
        f"missed or over {FAILURE:.0%}": failed / len(photos),
    }


def evaluate(data: Path, model: Path, detector_model: Path | None = None) -> dict[str, float]:
    """Measure a landmark network on the test portraits.

    Args:
        data: Folder of the face sets.
        model: The ONNX file.
        detector_model: The detector's ONNX file, to measure from its boxes too, with the
            clustering the model repository serves.

    Returns:
        Figures by name; errors as shares of the distance of the outer eye corners.
    """
    landmarker = Landmarker(model)
    photos = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
    runs: dict[str, Callable[[Photo], Array | None]] = {"true boxes": lambda p: p.boxes[0]}
    if detector_model is not None:
        detector, served = Detector(detector_model), served_parameters()
        runs["detected boxes"] = lambda p: detected_box(detector, p, served)
    figures = {
        f"{name}: {title}": value
        for name, choose in runs.items()
        for title, value in measure(landmarker, photos, choose).items()
    }
    for batch in (1, 8):
        crops = np.random.default_rng(0).random((batch, 1, CROP_SIDE, CROP_SIDE), np.float32) * 255
        spent = latency(landmarker.session, {INPUT_NAME: crops}) / batch
        figures[f"latency ms a face, 1 thread, batch {batch}"] = spent
    return figures
