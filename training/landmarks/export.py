"""Export of a trained landmark network."""

from __future__ import annotations

from pathlib import Path

import torch

from facekit.contract import CROP_SIDE
from training.export import write_onnx
from training.landmarks.network import (
    INPUT_NAME,
    MAPS_NAME,
    PEAKS_NAME,
    POINTS_NAME,
    LandmarkNet,
)
from training.runs import load_checkpoint


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file.

    Returns:
        The largest difference between the file's outputs and the network's.
    """
    state = load_checkpoint(checkpoint)
    model = LandmarkNet()
    model.load_state_dict(state["average"])
    noise = torch.rand(2, 1, CROP_SIDE, CROP_SIDE, generator=torch.Generator().manual_seed(0))
    return write_onnx(
        model,
        noise * 255.0,
        path,
        INPUT_NAME,
        (MAPS_NAME, POINTS_NAME, PEAKS_NAME),
        "Face landmarks of facekit with FPENet's tensors. Research and evaluation only.",
        {"steps": str(state["step"]), "seed": str(state["seed"])},
    )
