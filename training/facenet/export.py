"""Export of a trained face network."""

from __future__ import annotations

from pathlib import Path

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME, DetectNet
from training.export import export_average


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file.

    Returns:
        The largest difference between the file's outputs and the network's.
    """
    return export_average(
        checkpoint,
        path,
        lambda _: DetectNet(),
        (2, 3, NETWORK_HEIGHT, NETWORK_WIDTH),
        1.0,
        INPUT_NAME,
        (BBOX_NAME, COVERAGE_NAME),
        "Face detector of facekit with FaceNet's tensors. Research and evaluation only.",
    )
