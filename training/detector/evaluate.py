"""``evaluate``: measure a network on a spec's validation photos."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from facekit.errors import DataError
from facekit.evaluation.average_precision import best_thresholds
from training.detector.frames import Part, read_photos
from training.detector.inference import Network, check_classes, open_network
from training.detector.measure import Measured, measure
from training.detector.options import add_key, add_model, add_threads, say_key_unused
from training.experiment.kitti import IMAGES, LABELS, read_kitti_config
from training.experiment.reader import read_experiment
from training.experiment.settings import DataSource, Experiment
from training.inference import median_ms
from training.writing import write_json

LOGGER = logging.getLogger("training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    parser.add_argument("-e", "--experiment", type=Path, required=True, help="the spec")
    add_model(parser)
    parser.add_argument(
        "-d",
        "--dataset_export_spec",
        type=Path,
        help="a tfrecords spec: names of the folders, and how the photos are split",
    )
    photos = parser.add_mutually_exclusive_group()
    photos.add_argument(
        "--data", type=Path, help="another KITTI folder, with images and labels, to measure on"
    )
    photos.add_argument(
        "--use_training_set", action="store_true", help="measure on the training photos"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument(
        "--speed", action="store_true", help="measure how many frames a second it does as well"
    )
    parser.add_argument(
        "--thresholds", action="store_true", help="name scores to choose a threshold by as well"
    )
    add_threads(parser)
    add_key(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; photos that can't be used are named and left out, and the status is 1.

    Raises:
        DataError: The spec, the network, or all of the photos can't be used; or the figures can't
            be written.
    """
    say_key_unused(options)
    kitti = read_kitti_config(options.dataset_export_spec) if options.dataset_export_spec else None
    experiment = read_experiment(options.experiment, kitti, measuring=True)
    network = open_network(options.model, options.threads)
    check_network(network, options.model, experiment)
    dataset = experiment.dataset
    if options.data:
        source = DataSource(options.data / IMAGES, options.data / LABELS)
        dataset = replace(dataset, validation=(source,), validation_fold=None)
    part: Part = "training" if options.use_training_set else "validation"
    photos = read_photos(dataset, part, keep_bytes=0)
    if not photos.photos:
        raise DataError(options.experiment, f"has no {part} photos to measure on")
    measured = measure(network, photos.photos, experiment)
    figures: dict[str, Any] = {
        "model": str(options.model),
        "photos": len(photos.photos),
        "unusable": len(photos.problems),
        **figures_of(measured, experiment),
    }
    if options.thresholds:
        figures["thresholds"] = {
            score.name: {
                name: {part: _known(value) for part, value in asdict(best).items()}
                for name, best in best_thresholds(score.curve).items()
            }
            for score in measured.classes
        }
    if options.speed:
        figures["frame_ms"] = frame_ms(network)
    sys.stdout.write(report(figures))
    if options.json:
        write_json(options.json, figures)
    return int(bool(photos.problems))


def check_network(network: Network, path: Path, experiment: Experiment) -> None:
    """Hold a network to a spec.

    Raises:
        DataError: It has other classes or another frame than the spec says.
    """
    check_classes(network, path, experiment.dataset.class_names, experiment.path)
    frame = (experiment.augmentation.width, experiment.augmentation.height)
    if network.size_wh != frame:
        raise DataError(
            experiment.path,
            "has a frame of {}x{}; that of {} is {}x{}".format(*frame, path, *network.size_wh),
        )


def figures_of(measured: Measured, experiment: Experiment) -> dict[str, Any]:
    """Return what was measured, ready for JSON; what no face was there for is None."""
    rules = experiment.evaluation
    classes = {}
    for score, rule in zip(measured.classes, rules.classes, strict=True):
        classes[score.name] = {
            "faces": score.curve.faces,
            "average_precision": _known(score.average_precision),
            "recall": _known(score.recall),
            "minimum_overlap": rule.minimum_overlap,
            "minimum_height": rule.minimum_height,
        }
    return {
        "mode": rules.mode,
        "classes": classes,
        "mean_average_precision": _known(measured.mean_ap),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def frame_ms(network: Network) -> float:
    """Return the median time of a single frame through the network, milliseconds."""
    width, height = network.size_wh
    frame = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    return median_ms(lambda: network.run(frame))


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
