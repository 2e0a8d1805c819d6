"""Writing the open face network as an ONNX file, or as a file of weights to train on from.

Its scores are calibrated on the photos kept to choose by, so that of the boxes that score 0.7 about
70 % are faces.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facekit.contract import GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.errors import DataError
from facekit.outputs import check_own
from training.checkpoints import load_checkpoint
from training.detector.inference import CLASSES_KEY, FRAME_WH, TorchDetector
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME
from training.detector.quantize import quantize
from training.export import check_served, write_onnx
from training.facenet.evaluate import SMALLEST_COUNTED, calibration_truths, find_all
from training.facenet.network import (
    FaceNetwork,
    exportable,
    load_weights,
    no_calibration,
    save_weights,
)
from training.facenet.photos import Photos
from training.facenet.reliability import outcomes

LOGGER = logging.getLogger("training")
BY_HAND = ("crowd", "empty")
"""Kinds of photos whose labels were made by hand: only these tell what is a face."""
INT8_PHOTOS = 160
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


def load_trained(path: Path) -> FaceNetwork:
    """Return the network of a file of weights, or the average of a checkpoint.

    Raises:
        DataError: The file is missing, damaged, or of another network.
    """
    if path.suffix == WEIGHTS_SUFFIX:
        return load_weights(path)
    state = load_checkpoint(path)
    try:
        network = FaceNetwork(tuple(state.get("classes", ())))
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


def export(trained: Path, path: Path, cache: Path | None = None, int8: Path | None = None) -> float:
    """Write a trained network as an ONNX file, or, where ``path`` ends in ``.npz``, its weights.

    It is calibrated on the decoded photos of ``cache``; without it a file of weights keeps its
    calibration, and a checkpoint has none. ``int8`` is a folder of photos by which it is rounded
    to 8 bits. Returns the largest difference of the float32 file's outputs (``write_onnx``), 0 for
    weights.

    Raises:
        DataError: A file cannot be read or written, or is of another network; the file of weights
            is ``trained`` itself, or would replace something else; the model repository that an
            ONNX file lies in has other tensors or classes.
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
    classes, count = network.classes, len(network.calibration)
    frame = (3, NETWORK_HEIGHT, NETWORK_WIDTH)
    grid = (NETWORK_HEIGHT // GRID_STRIDE, NETWORK_WIDTH // GRID_STRIDE)
    outputs = {BBOX_NAME: (4 * count, *grid), COVERAGE_NAME: (count, *grid)}
    check_served(path, {INPUT_NAME: frame}, outputs, classes or None)
    example = torch.rand(2, *frame, generator=torch.Generator().manual_seed(0))
    notes = {CLASSES_KEY: ",".join(classes)} if classes else {}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx" if int8 else path
        difference = write_onnx(
            exportable(network), example, plain, INPUT_NAME, tuple(outputs), DESCRIPTION, notes
        )
        if int8:
            quantize(plain, path, int8, INT8_PHOTOS, FRAME_WH, gray=not classes)
    return difference
