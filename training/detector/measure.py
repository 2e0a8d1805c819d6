"""Measuring a detector on labeled photos as a spec's evaluation_config says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facekit.evaluation.class_scores import (
    ClassScore,
    ScoredPhoto,
    mean_average_precision,
    score_classes,
)
from facekit.progress import ProgressBar
from training.detector.frames import LabeledPhoto, PhotoSet
from training.detector.inference import Network, TorchNetwork, find_boxes
from training.experiment.settings import Experiment


@dataclass(frozen=True)
class Measured:
    """How well a network does.

    Attributes:
        classes: One score a class, in the order of the spec.
    """

    classes: list[ClassScore]

    @property
    def mean_ap(self) -> float:
        """Mean average precision over the classes that have faces; NaN where none has."""
        return mean_average_precision(self.classes)

    @property
    def class_ap(self) -> dict[str, float]:
        """Average precision by class; NaN for one without faces."""
        return {score.name: score.average_precision for score in self.classes}


def score_photo(network: Network, photo: LabeledPhoto, experiment: Experiment) -> ScoredPhoto:
    """Return what a network finds in a photo, beside the photo's labels."""
    image = photo.image()
    found = find_boxes(network, image, experiment.clustering)
    width, height = network.size_wh
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


def measure(network: Network, photos: Sequence[LabeledPhoto], experiment: Experiment) -> Measured:
    """Score every class.

    Args:
        network: The network.
        photos: The photos with their faces, labeled in the classes of ``experiment``.
        experiment: Clustering, overlaps, sizes that count, and the way of averaging.
    """
    scored = []
    with ProgressBar(len(photos), "photos measured") as bar:
        for photo in photos:
            scored.append(score_photo(network, photo, experiment))
            bar.advance()
    rules = experiment.evaluation
    names = experiment.dataset.class_names
    return Measured(score_classes(scored, names, rules.classes, rules.mode))


def evaluate_network(model: Any, photos: PhotoSet, experiment: Experiment) -> Measured:
    """Measure a ``DetectNet`` while it is trained; leaves it in evaluation mode.

    Args:
        model: The network, on any device.
        photos: As in ``measure``.
        experiment: As in ``measure``; gives the frame as well.
    """
    frame = (experiment.augmentation.width, experiment.augmentation.height)
    network = TorchNetwork(model.eval(), experiment.dataset.class_names, frame)
    return measure(network, photos.photos, experiment)
