"""``evaluate``: measure a network on a spec's validation photos."""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import DataError, writing
from facekit.evaluation.average_precision import best_thresholds
from facekit.evaluation.class_scores import (
    ClassScore,
    ScoredPhoto,
    mean_average_precision,
    score_classes,
)
from facekit.files import write_whole
from facekit.outputs import begins_as, check_own
from facekit.progress import ProgressBar
from training.detector.files import (
    add_experiment,
    add_model,
    add_threads,
    check_detector,
    open_detector,
)
from training.detector.frames import LabeledPhoto, Part, PhotoSet, read_photos
from training.detector.inference import Detector, TorchDetector, find_boxes, frame_ms
from training.experiment.data import IMAGES, LABELS, DataSource, read_kitti_config
from training.experiment.spec import Experiment, read_experiment

_BEGINNING = re.compile(rb'\{\n  "model": "(?:[^"\\]|\\.)*",\n  "photos": \d+,\n  "unusable": ')
"""Of the file of ``--json``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    add_experiment(parser)
    add_model(parser)
    photos = parser.add_mutually_exclusive_group()
    photos.add_argument(
        "--data", type=Path, help="another KITTI folder, with images and labels, to measure on"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    for owner, name, text in (
        (photos, "--use_training_set", "measure on the training photos"),
        (parser, "--speed", "measure how many frames a second it does as well"),
        (parser, "--thresholds", "name scores to choose a threshold by as well"),
    ):
        owner.add_argument(name, action="store_true", help=text)
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; photos that can't be used are named and left out, and the status is 1.

    Raises DataError if spec, network or all photos can't be used, or the figures not be written.
    """
    if options.json:
        check_own(options.json, begins_as(_BEGINNING))
    kitti = read_kitti_config(options.dataset_export_spec) if options.dataset_export_spec else None
    experiment = read_experiment(options.experiment, kitti, measuring=True)
    detector = open_detector(options.model, options.threads)
    dataset, size_wh = experiment.dataset, experiment.spec.augmentation_config.size_wh
    check_detector(detector, options.model, dataset.class_names, size_wh, experiment.path)
    if options.data:
        source = DataSource(options.data / IMAGES, options.data / LABELS)
        dataset = replace(dataset, validation=(source,), validation_fold=None)
    part: Part = "training" if options.use_training_set else "validation"
    photos = read_photos(dataset, part, keep_bytes=0)
    if not photos.photos:
        raise DataError(options.experiment, f"has no {part} photos to measure on")
    scores = measure(detector, photos.photos, experiment)
    figures: dict[str, Any] = {
        "model": str(options.model),
        "photos": len(photos.photos),
        "unusable": len(photos.problems),
        **figures_of(scores, experiment),
    }
    if options.thresholds:
        figures["thresholds"] = {
            score.name: {
                name: {part: _known(value) for part, value in asdict(best).items()}
                for name, best in best_thresholds(score.curve).items()
            }
            for score in scores
        }
    if options.speed:
        figures["frame_ms"] = frame_ms(detector)
    sys.stdout.write(report(figures))
    if options.json:
        with writing(options.json):
            write_whole(options.json, json.dumps(figures, indent=2) + "\n")
    return int(bool(photos.problems))


def score_photo(detector: Detector, photo: LabeledPhoto, experiment: Experiment) -> ScoredPhoto:
    """Return what a network finds in a photo, beside the photo's labels."""
    image = photo.image()
    found = find_boxes(detector, image, experiment.clustering)
    width, height = detector.size_wh
    return ScoredPhoto(
        found.boxes_xyxy,
        found.scores,
        found.class_ids,
        photo.boxes_xyxy,
        # Objects that the spec maps to no class have the class ``NO_CLASS`` already.
        photo.classes.astype(np.int32),
        np.zeros(len(photo.classes), dtype=bool),
        (width / image.width, height / image.height),
    )


def measure(
    detector: Detector, photos: Sequence[LabeledPhoto], experiment: Experiment
) -> list[ClassScore]:
    """Score every class; the scores are in the order of the spec's classes.

    The photos are labeled in the classes of ``experiment``, which also has the clustering, the
    overlaps, the sizes that count, and the way of averaging.
    """
    scored = []
    with ProgressBar(len(photos), "photos measured") as bar:
        for photo in photos:
            scored.append(score_photo(detector, photo, experiment))
            bar.advance()
    rules, names = experiment.spec.evaluation_config, experiment.dataset.class_names
    return score_classes(scored, names, rules.rules(names), rules.average_precision_mode)


def evaluate_network(model: Any, photos: PhotoSet, experiment: Experiment) -> list[ClassScore]:
    """Measure a ``DetectNet``, on any device; leaves it in evaluation mode."""
    size_wh = experiment.spec.augmentation_config.size_wh
    detector = TorchDetector(model.eval(), experiment.dataset.class_names, size_wh)
    return measure(detector, photos.photos, experiment)


def figures_of(scores: Sequence[ClassScore], experiment: Experiment) -> dict[str, Any]:
    """Return what was measured, ready for JSON; what no face was there for is None."""
    rules, classes = experiment.spec.evaluation_config, {}
    every = rules.rules(experiment.dataset.class_names)
    for score, rule in zip(scores, every, strict=True):
        classes[score.name] = {
            "faces": score.curve.faces,
            "average_precision": _known(score.average_precision),
            "recall": _known(score.recall),
            "minimum_overlap": rule.minimum_overlap,
            "minimum_height": rule.minimum_height,
        }
    return {
        "mode": rules.average_precision_mode,
        "classes": classes,
        "mean_average_precision": _known(mean_average_precision(scores)),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def report(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""

    def shown(value: float | None) -> str:
        return f"{'-':>6s}" if value is None else f"{value:6.4f}"

    mode = figures["mode"]
    lines = [
        f"{figures['model']}: {figures['photos']} photos, {figures['unusable']} unusable",
        f"{'class':16s} {'faces':>6s} {'AP':>6s} {'recall':>6s}  ({mode})",
    ]
    for name, values in figures["classes"].items():
        precision, recall = shown(values["average_precision"]), shown(values["recall"])
        lines.append(f"{name:16s} {values['faces']:6d} {precision} {recall}")
    lines.append(f"{'mean':23s} {shown(figures['mean_average_precision'])}")
    for name, thresholds in figures.get("thresholds", {}).items():
        for title, best in thresholds.items():
            lines.append(
                f"{name}, {title} at score {shown(best['score'])}: "
                f"precision {shown(best['precision'])}, recall {shown(best['recall'])}"
            )
    if "frame_ms" in figures:
        rate = 1000 / figures["frame_ms"]
        lines.append(f"{figures['frame_ms']:.1f} ms a frame, {rate:.1f} frames a second")
    return "\n".join(lines) + "\n"
