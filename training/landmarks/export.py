"""Export of a trained landmark network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facekit.contract import CROP_SIDE
from training.export import export_average
from training.landmarks.network import (
    INPUT_NAME,
    MAPS_NAME,
    PEAKS_NAME,
    POINTS_NAME,
    LandmarkNet,
)


def network_of(state: Mapping[str, Any]) -> LandmarkNet:
    """Return an untrained network with as many points as a checkpoint's."""
    return LandmarkNet(len(state["average"]["maps.weight"]))


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file.

    Returns:
        The largest difference between the file's outputs and the network's.
    """
    return export_average(
        checkpoint,
        path,
        network_of,
        (2, 1, CROP_SIDE, CROP_SIDE),
        255.0,
        INPUT_NAME,
        (MAPS_NAME, POINTS_NAME, PEAKS_NAME),
        "Face landmarks of facekit with FPENet's tensors. Research and evaluation only.",
    )
