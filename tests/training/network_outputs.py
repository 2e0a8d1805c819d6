"""What a detector's files compute; the libraries are imported where a test has asked for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def onnx_outputs(path: Path, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["output_bbox/BiasAdd", "output_cov/Sigmoid"]
    bbox, coverage = session.run(None, {"input_1": frames})
    return bbox, coverage


def torch_outputs(path: Path, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from training.detector.files import read_network

    with torch.no_grad():
        bbox, coverage = read_network(path).build()(torch.from_numpy(frames))
    return bbox.numpy(), coverage.numpy()
