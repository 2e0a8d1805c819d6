"""Export of a trained detector."""

from __future__ import annotations

from pathlib import Path

import torch

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from training.detector.network import (
    BBOX_NAME,
    COVERAGE_NAME,
    INPUT_NAME,
    DetectNet,
)
from training.export import write_onnx
from training.runs import load_checkpoint


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file.

    Returns:
        The largest difference between the file's outputs and the network's.
    """
    state = load_checkpoint(checkpoint)
    model = DetectNet()
    model.load_state_dict(state["average"])
    chance = torch.Generator().manual_seed(0)
    example = torch.rand(2, 3, NETWORK_HEIGHT, NETWORK_WIDTH, generator=chance)
    return write_onnx(
        model,
        example,
        path,
        INPUT_NAME,
        (BBOX_NAME, COVERAGE_NAME),
        "Face detector of facekit with FaceNet's tensors. Research and evaluation only.",
        {"steps": str(state["step"]), "seed": str(state["seed"])},
    )
