"""Opening a network by its file, a checkpoint or an ONNX file; and the options that name both."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facekit.cli import whole_number
from facekit.errors import DataError
from training.detector.inference import Detector, OnnxDetector, TorchDetector

if TYPE_CHECKING:
    from training.detector.saved import SavedNetwork

ENGINES = (".trt", ".engine", ".plan", ".etlt")
"""Files of TensorRT, which specs of TLT's inference name."""


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the options of a spec: ``-e``, and ``-d`` for TLT's tfrecords spec."""
    parser.add_argument("-e", "--experiment", type=Path, required=True, help="the spec")
    text = "a tfrecords spec: names of the folders, and how the photos are split"
    parser.add_argument("-d", "--dataset_export_spec", type=Path, help=text)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    text = "of the network (default: 1)"
    parser.add_argument("--threads", type=whole_number(1), default=1, help=text)


def add_model(
    parser: argparse.ArgumentParser,
    *,
    required: bool = True,
    text: str = "the network: a checkpoint, or an ONNX file",
) -> None:
    """Add ``-m``."""
    parser.add_argument("-m", "--model", type=Path, required=required, help=text)


def read_network(path: Path) -> SavedNetwork:
    """Read a network to train, prune or export: of a checkpoint, or of an ONNX file of this kit.

    Raises DataError if the file is missing, damaged, of another kind, or does not fit together.
    """
    if path.suffix.lower() == ".onnx":
        from training.detector.onnx_weights import read_onnx_network

        return read_onnx_network(path)
    from training.detector.saved import read_saved_network

    return read_saved_network(path)


def open_detector(path: Path, threads: int = 1) -> Detector:
    """Load a network to run; what does not end in ``.onnx`` is a checkpoint and needs PyTorch.

    Raises DataError if the file is missing, damaged, or of another kind.
    """
    if path.suffix.lower() == ".onnx":
        return OnnxDetector(path, threads)
    if path.suffix.lower() in ENGINES:
        raise DataError(
            path, "is for TensorRT, which a server runs; name a checkpoint or an ONNX file"
        )
    import torch

    torch.set_num_threads(threads)
    network = read_network(path)
    return TorchDetector(network.build(), network.classes, network.size_wh)


def check_detector(
    detector: Detector, path: Path, names: Sequence[str], size_wh: tuple[int, int], spec: Path
) -> None:
    """Raise DataError unless the network of a file has the classes and the frame of a spec."""
    own = detector.classes
    if own and tuple(names) != own:
        reason = f"has the classes {', '.join(names)}; those of {path} are {', '.join(own)}"
        raise DataError(spec, reason)
    if detector.size_wh != size_wh:
        frames = "has a frame of {}x{}; that of {} is {}x{}"
        raise DataError(spec, frames.format(*size_wh, path, *detector.size_wh))
