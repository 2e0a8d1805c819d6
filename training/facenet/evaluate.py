"""Measuring the face network, or one with classes, in PyTorch or as an ONNX file.

The network alone is measured by its average precision, from boxes of nearly any coverage; what is
called served has the clustering of the model repository.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from facekit.detection.labels import read_class_names
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import DEFAULT_FILE, active_file, parameters, read_config
from facekit.errors import DataError
from facekit.evaluation.average_precision import Curve, average_precision, best_thresholds
from facekit.evaluation.class_scores import ScoredPhoto, frame_scale, height_curve
from facekit.evaluation.label_classes import ClassMap
from facekit.labels.listing import split_of
from training.detector.inference import Detector, OnnxDetector, TorchDetector, find_boxes, frame_ms
from training.facenet.network import FaceNetwork
from training.facenet.photos import (
    EMPTY_FOLDERS,
    ILC_FOLDER,
    Boxes,
    Photos,
    as_boxes,
    labeled_photos,
    read_extra,
)
from training.facenet.reliability import outcomes, plot_reliability, reliability
from training.facesets import PORTRAIT_TEST_FOLDER, VOC_FOLDER, load_image

BANDS = (20, 40, 80, 160, float("inf"))
"""Heights of faces that are measured apart, in pixels of the frame."""
REPOSITORY = Path(__file__).parents[2] / "model_repository"
NEARLY_ALL = ClusteringParameters(
    clustering_algorithm="NMS",
    coverage_threshold=0.05,
    nms_confidence_threshold=0.05,
    nms_iou_threshold=0.5,
)
"""Lets boxes of nearly any coverage through: for the whole curve of precision and recall."""
SMALLEST_COUNTED = 20.0
"""Faces of at least this height, in pixels of the 416-pixel frame, count for the target."""
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.65)

ALL = replace(NEARLY_ALL, cross_class_iou_threshold=0.5)
"""The same; of two classes on one face the surer one, as served."""


class Truth(NamedTuple):
    """A photo, its faces with their classes as their set writes them, and regions to ignore."""

    image: Image.Image
    boxes: Boxes
    classes: tuple[str, ...]
    ignored: Boxes


def served_parameters(
    folder: Path = REPOSITORY / "facenet_postprocess",
) -> list[ClusteringParameters]:
    """Read the clustering the model repository serves, one a class.

    The folder of the postprocess model has the label file and ``configs/cpu.pbtxt``, or else
    ``config.pbtxt``, as Triton chooses on the CPU.

    Raises:
        DataError: The configuration sets no parameters.
        ConfigError: A file is missing, or a parameter is wrong.
    """
    path = active_file(folder, "cpu") or folder / DEFAULT_FILE
    values = parameters(read_config(path))
    if not values:
        raise DataError(path, "sets no parameters")
    label_file = folder / values.get("label_file", "labels.txt")
    names = read_class_names(label_file, folder.name.removesuffix("_postprocess"))
    return parse_parameters(values, names, others=("label_file",))


def find_all(
    detector: Detector,
    truths: Iterable[Truth],
    clustering: Sequence[ClusteringParameters] | None = None,
) -> list[ScoredPhoto]:
    """Find the faces of photos, where no clustering is given with boxes of nearly any coverage.

    A network without classes gets gray photos, one with classes colored ones, as served.
    """
    classes, scored = detector.classes, []
    chosen = clustering or [ALL] * max(1, len(classes))
    for image, boxes, names, ignored in truths:
        found = find_boxes(detector, image, chosen, gray=not classes)
        true, kept = np.concatenate([boxes, ignored]), len(boxes)
        true_ids = np.zeros(len(true), np.int32)
        if classes:
            true_ids[:kept] = ClassMap().labels(names, classes)
        skipped, scale = np.arange(len(true)) >= kept, frame_scale(image.size)
        result = found.boxes_xyxy, found.scores, found.class_ids, true, true_ids, skipped, scale
        scored.append(ScoredPhoto(*result))
    return scored


def merged(photos: Iterable[ScoredPhoto]) -> list[ScoredPhoto]:
    """Return photos with all faces and boxes in one class."""
    return [
        replace(photo, labels=photo.labels * 0, true_labels=photo.true_labels * 0)
        for photo in photos
    ]


def figures(photos: list[ScoredPhoto]) -> dict[str, float]:
    """Return AP50 and AP40 of the faces that count, and the share that is found at all."""
    curves = [height_curve(photos, 0, iou, SMALLEST_COUNTED) for iou in (0.5, 0.4)]
    precisions = [average_precision(curve) for curve in curves]
    return {"AP50": precisions[0], "AP40": precisions[1], "recall": curves[1].at(0.0)[1]}


def class_figures(photos: list[ScoredPhoto], classes: Sequence[str]) -> dict[str, float]:
    """Return AP50 of the faces of each class that count."""
    curves = [height_curve(photos, k, 0.5, SMALLEST_COUNTED) for k in range(len(classes))]
    aps = map(average_precision, curves)
    return {f"{name} AP50": value for name, value in zip(classes, aps, strict=True)}


def false_boxes(photos: list[ScoredPhoto], threshold: float) -> int:
    """Return how many boxes of at least a score were found."""
    return sum(int((photo.scores >= threshold).sum()) for photo in photos)


def calibration_truths(photos: Photos, kinds: tuple[str, ...]) -> Iterator[Truth]:
    """Yield the completely labeled photos of some kinds that are kept to choose by."""
    for sample in photos.samples:
        if sample.split == "calibration" and sample.kind in kinds and sample.complete:
            names = sample.classes or ("",) * len(sample.boxes)
            yield Truth(photos.image(sample), sample.boxes, names, sample.ignored)


def calibration_figures(network: FaceNetwork, photos: Photos) -> dict[str, float]:
    """Measure an exportable network on crowds and photos without faces kept to choose by."""
    detector = TorchDetector(network, network.classes)
    empty = find_all(detector, calibration_truths(photos, ("empty",)))
    crowds = find_all(detector, calibration_truths(photos, ("crowd",)))
    found = figures(merged(crowds)) | class_figures(crowds, network.classes)
    # JSON has no NaN: what no face was counted for is left out.
    known = {name: value for name, value in found.items() if value == value}
    return {**known, "false boxes": false_boxes(empty, 0.5)}


def labeled(
    data: Path, folder: str, split: str | None = None, extra: bool = False
) -> Iterator[Truth]:
    """Yield the photos of a set, or of its split; ``extra`` ignores known faces without a label."""
    known = read_extra(data) if extra else {}
    for photo, labels in labeled_photos(data / folder):
        if split in (None, split_of(photo.stem)):
            others = known.get(photo.relative_to(data).as_posix(), ())[:2]
            boxes, counts = labels.boxes_xyxy, ~labels.ignored
            names = tuple(np.array(labels.class_names)[counts].tolist())
            ignored = np.concatenate([boxes[~counts], *others])
            yield Truth(load_image(photo), boxes[counts], names, ignored)


def empties(data: Path, split: str) -> Iterator[Truth]:
    """Yield the photos without faces."""
    for folder in EMPTY_FOLDERS:
        for path in sorted((data / folder).glob("*.jpg")):
            if split_of(path.stem) == split:
                yield Truth(load_image(path), as_boxes([]), (), as_boxes([]))


def evaluate_classes(
    detector: Detector, data: Path, split: str, served: Sequence[ClusteringParameters]
) -> dict[str, float]:
    """Measure how the classes are told apart on the photos of a split, also as served.

    Known faces that a set has no label for do not count.
    """
    whole: list[ScoredPhoto] = []
    kept: list[ScoredPhoto] = []
    result: dict[str, float] = {}

    def add(title: str, photos: list[ScoredPhoto], label: int, low: float, high: float) -> Curve:
        curve = height_curve(photos, label, 0.5, low, high)
        result[f"{title}: faces"] = curve.faces
        result[f"{title}: AP50"] = average_precision(curve)
        result[f"{title}: precision"], result[f"{title}: recall"] = curve.at(0.0)
        return curve

    for folder in (VOC_FOLDER, ILC_FOLDER, "both sets"):
        if folder != "both sets":
            found, chosen = (
                find_all(detector, labeled(data, folder, split, extra=True), clustering)
                for clustering in (None, served)
            )
            whole, kept = whole + found, kept + chosen
        else:
            found, chosen = whole, kept
        everything = SMALLEST_COUNTED, BANDS[-1]
        add(f"{folder}, any face", merged(found), 0, *everything)
        add(f"{folder}, any face, served", merged(chosen), 0, *everything)
        for label, name in enumerate(detector.classes):
            curve = add(f"{folder}, {name}", found, label, *everything)
            add(f"{folder}, {name}, served", chosen, label, *everything)
            if folder != "both sets":
                continue
            for low, high in zip(BANDS[:-1], BANDS[1:], strict=True):
                add(f"{folder}, {name}, served, from {low} px", chosen, label, low, high)
            if split == "calibration":
                result |= {f"{name}: {title}": value for title, value in sweep(curve).items()}
            for each in reliability(outcomes(found, SMALLEST_COUNTED, label)):
                result[f"{name}, scores from {each.low} ({each.boxes}): right"] = each.share
    return result


def sweep(points: Curve) -> dict[str, float]:
    """Return precision and recall over thresholds, to choose one by."""
    figures = {}
    for title, best in best_thresholds(points).items():
        figures[f"{title} threshold"] = best.score
        figures[f"{title} precision"], figures[f"{title} recall"] = best.precision, best.recall
    for threshold in THRESHOLDS:
        name = f"at {threshold}"
        figures[f"{name} precision"], figures[f"{name} recall"] = points.at(threshold)
    return figures


def evaluate(
    data: Path, model: Path, split: str = "evaluation", plot: Path | None = None
) -> dict[str, float]:
    """Measure an ONNX file on the photos of a split below the folder of the face sets.

    Thresholds are chosen by the figures of the split ``calibration``. ``plot`` is a picture to
    draw of how reliable the scores are, over all photos but the portraits; known faces without
    a label are ignored there.

    Raises:
        DataError: A set or the file cannot be read.
    """
    detector = OnnxDetector(model)
    name = "facemask_postprocess" if detector.classes else "facenet_postprocess"
    served = served_parameters(REPOSITORY / name)
    sets: dict[str, Callable[[], Iterator[Truth]]] = {
        "masks-ilc": lambda: labeled(data, ILC_FOLDER, split, extra=True),
        "kaggle": lambda: labeled(data, VOC_FOLDER, split, extra=True),
        "kaggle, own labels": lambda: labeled(data, VOC_FOLDER, split),
    }
    if split == "evaluation":
        sets["helen-test"] = lambda: labeled(data, PORTRAIT_TEST_FOLDER, extra=True)
    result: dict[str, float] = {}
    scored: list[ScoredPhoto] = []
    for title, truths in sets.items():
        photos = merged(find_all(detector, truths()))
        scored += photos if title in ("masks-ilc", "kaggle") else []
        result |= {f"{title}: {name}": value for name, value in figures(photos).items()}
        for low, high in zip(BANDS[:-1], BANDS[1:], strict=True):
            band = height_curve(photos, 0, 0.5, low, high)
            if band.faces:
                result[f"{title}, from {low} px ({band.faces}): AP50"] = average_precision(band)
        chosen = merged(find_all(detector, truths(), served))
        kept = height_curve(chosen, 0, 0.5, SMALLEST_COUNTED)
        both = f"{title}, served: precision", f"{title}, served: recall"
        result |= dict(zip(both, kept.at(0.0), strict=True))
        if split == "calibration":
            curve = height_curve(photos, 0, 0.5, SMALLEST_COUNTED)
            result |= {f"{title}: {name}": value for name, value in sweep(curve).items()}
    if detector.classes:
        result |= evaluate_classes(detector, data, split, served)
    empty = find_all(detector, empties(data, split), served)
    result["without faces: photos"] = len(empty)
    result["without faces, served: false boxes"] = false_boxes(empty, 0.0)
    scored += merged(find_all(detector, empties(data, split)))
    bins = reliability(outcomes(scored, SMALLEST_COUNTED))
    for each in bins:
        result[f"scores from {each.low} ({each.boxes}): faces"] = each.share
    if plot:
        plot_reliability(plot, bins, f"{model.parent.parent.name}, {split} photos")
    result["latency ms, 1 thread, batch 1"] = frame_ms(detector)
    return result
