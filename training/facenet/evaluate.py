"""Measuring an exported detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.detection.postprocess import Detections
from facekit.engines.configs import DEFAULT_FILE, read_config
from facekit.errors import ConfigError, DataError, reading
from facekit.evaluation.average_precision import Curve, average_precision, best_thresholds
from facekit.evaluation.class_scores import SIZE_BANDS, ScoredPhoto, frame_scale, height_curve
from training.detector.inference import Detector, OnnxDetector, find_boxes, frame_ms
from training.facenet.proxy import group_photos
from training.facesets import (
    PORTRAIT_TEST_FOLDER,
    Photo,
    no_face_photos,
    pts_photos,
    voc_photos,
)

POSTPROCESS_FOLDER = Path(__file__).parents[2] / "model_repository" / "facenet_postprocess"
NEARLY_ALL = ClusteringParameters(
    clustering_algorithm="NMS",
    coverage_threshold=0.05,
    nms_confidence_threshold=0.05,
    nms_iou_threshold=0.5,
)
"""Lets boxes of nearly any coverage through: for the whole curve of precision and recall."""
SMALLEST_COUNTED = 20.0
"""Faces of at least this height, in pixels of the 416-pixel frame, count for the target."""
PROXY_IOU = 0.4
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.65)


def served_parameters(folder: Path = POSTPROCESS_FOLDER) -> list[ClusteringParameters]:
    """Read the clustering the model repository serves, one a class.

    Args:
        folder: Folder of the postprocess model, with the label file and ``configs/cpu.pbtxt``, or
            else ``config.pbtxt``, as Triton chooses on the CPU.

    Raises:
        DataError: A file is missing, or the configuration sets no parameters.
        ConfigError: A parameter is wrong.
    """
    path = folder / "configs" / "cpu.pbtxt"
    path = path if path.exists() else folder / DEFAULT_FILE
    try:
        parameters = read_config(path).parameters
    except ConfigError as error:
        raise DataError(path, f"cannot be read: {error}") from error
    values = {name: str(parameters[name].string_value) for name in parameters}
    if not values:
        raise DataError(path, "sets no parameters")
    labels = folder / values.get("label_file", "labels.txt")
    with reading(labels):
        names = labels.read_text(encoding="utf-8").split()
    return parse_parameters(values, names, others=("label_file",))


def run(
    detector: Detector,
    photos: Iterable[Photo],
    parameters: Sequence[ClusteringParameters],
    gray: bool = True,
) -> list[ScoredPhoto]:
    """Detect in every photo; all faces are of one class."""
    return [
        _scored(photo, find_boxes(detector, photo.image, parameters, gray=gray)) for photo in photos
    ]


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
    detector = OnnxDetector(model)
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
    figures["latency ms, 1 thread, batch 1"] = frame_ms(detector)
    return figures
