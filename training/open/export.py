"""Writing the next face network as an ONNX file, or as a file of weights to train on from.

Its scores are calibrated on the photos kept to choose by, so that of the boxes that score 0.7 about
70 % are faces.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.errors import DataError
from facekit.outputs import check_own
from training.checkpoints import load_checkpoint
from training.detector.inference import CLASSES_KEY, TorchDetector
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME
from training.export import write_onnx
from training.open.evaluate import SMALLEST_COUNTED, calibration_truths, find_all
from training.open.network import (
    OpenNet,
    exportable,
    load_weights,
    no_calibration,
    save_weights,
)
from training.open.photos import Photos
from training.open.reliability import outcomes

LOGGER = logging.getLogger("training")
BY_HAND = ("crowd", "empty")
"""Kinds of photos whose labels were made by hand: only these tell what is a face."""
WEIGHTS_SUFFIX = ".npz"
DESCRIPTION = "Face detector of facekit with FaceNet's tensors. Research and evaluation only."


def fit_sigmoid(pairs: NDArray[np.float64], rounds: int = 50) -> tuple[float, float]:
    """Return the scale and shift of a score's logit that predict success best (Platt).

    Of ``outcomes``, by Newton's method.
    """
    score = pairs[:, 0].clip(1e-6, 1 - 1e-6)
    design = np.stack([np.log(score / (1 - score)), np.ones(len(score))], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-design @ found))
        gradient = design.T @ (pairs[:, 1] - chance)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-6 * np.eye(2)
        found += np.linalg.solve(curvature, gradient)
    return float(found[0]), float(found[1])


def load_trained(path: Path) -> OpenNet:
    """Return the network of a file of weights, or the average of a checkpoint.

    Raises:
        DataError: The file is missing, damaged, or of another network.
    """
    if path.suffix == WEIGHTS_SUFFIX:
        return load_weights(path)
    state = load_checkpoint(path)
    try:
        network = OpenNet(tuple(state.get("classes", ())))
        network.load_state_dict(state["average"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(path, "is of another network") from error
    return network


def is_weights(path: Path) -> bool:
    """Return whether a file has the weights of this network."""
    try:
        load_weights(path)
    except DataError:
        return False
    return True


def export(trained: Path, path: Path, cache: Path | None = None) -> float:
    """Write a trained network as an ONNX file, or, where ``path`` ends in ``.npz``, its weights.

    It is calibrated on the decoded photos of ``cache``; without it a file of weights keeps its
    calibration, and a checkpoint has none. Returns the largest difference of the ONNX file's
    outputs (``write_onnx``), 0 for weights.

    Raises:
        DataError: A file cannot be read or written, or is of another network; the file of weights
            is ``trained`` itself, or would replace something else.
    """
    if path.suffix == WEIGHTS_SUFFIX:
        check_own(path, is_weights, [trained])
    network = load_trained(trained)
    if cache:
        network.calibration = no_calibration(network.classes)
        detector = TorchDetector(exportable(copy.deepcopy(network)), network.classes)
        found = find_all(detector, calibration_truths(Photos(cache), BY_HAND))
        labels = range(len(network.calibration))
        fitted = [fit_sigmoid(outcomes(found, SMALLEST_COUNTED, label)) for label in labels]
        network.calibration = np.array(fitted, np.float32)
    LOGGER.info("scale and shift of the scores' logits: %s", network.calibration.round(3).tolist())
    if path.suffix == WEIGHTS_SUFFIX:
        save_weights(path, network)
        return 0.0
    shape = (2, 3, NETWORK_HEIGHT, NETWORK_WIDTH)
    example = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    names = (BBOX_NAME, COVERAGE_NAME)
    notes = {CLASSES_KEY: ",".join(network.classes)} if network.classes else {}
    return write_onnx(exportable(network), example, path, INPUT_NAME, names, DESCRIPTION, notes)
