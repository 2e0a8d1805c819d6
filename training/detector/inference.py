"""Running a detector on photos, whatever kind of file it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import Detections, detect
from facekit.errors import DataError
from training.inference import FRAME_WH, network_input, open_session

Frames = NDArray[np.float32]
CLASSES_KEY = "classes"
"""Entry of an exported file's metadata: the names of the classes with commas between them."""
ENGINES = (".trt", ".engine", ".plan", ".etlt")
"""Files of TensorRT, which specs of TLT's inference name."""


class Network(Protocol):
    """A network that can be run."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the channels; empty where the file tells none."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frame."""

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """Return the box offsets and the coverages of frames.

        Args:
            frames: float32 [n, 3, height, width] in 0..1.

        Returns:
            float32 [n, 4 * classes, height/16, width/16] and [n, classes, height/16, width/16].
        """


@dataclass(frozen=True)
class TorchNetwork:
    """A network in PyTorch.

    Attributes:
        model: The ``DetectNet``, in evaluation mode, on any device.
        classes: As in ``Network``.
        size_wh: As in ``Network``.
    """

    model: Any
    classes: tuple[str, ...]
    size_wh: tuple[int, int] = FRAME_WH

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """See ``Network.run``."""
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            bbox, coverage = self.model(torch.from_numpy(frames).to(device))
        return bbox.float().cpu().numpy(), coverage.float().cpu().numpy()


class OnnxNetwork:
    """A network in an ONNX file, on the CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load the file.

        Raises:
            DataError: The file is missing, damaged, or not a detector.
        """
        self.session = open_session(path, threads)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shapes = ", ".join(str(tensor.shape) for tensor in inputs)
        if len(inputs) != 1 or len(outputs) != 2:
            count = f"{len(inputs)} inputs and {len(outputs)} outputs"
            raise DataError(path, f"is not a detector, which has 1 input and 2 outputs: {count}")
        shape = inputs[0].shape
        if len(shape) != 4 or shape[1] != 3:
            raise DataError(path, f"is not a detector: its input is {shapes}")
        if not (isinstance(shape[2], int) and isinstance(shape[3], int)):
            raise DataError(path, f"has a free frame size, {shapes}: export it with a fixed one")
        self._input: str = inputs[0].name
        self._outputs = [output.name for output in outputs]
        self.size_wh = (shape[3], shape[2])
        notes = self.session.get_modelmeta().custom_metadata_map
        self.classes = tuple(filter(None, notes.get(CLASSES_KEY, "").split(",")))

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """See ``Network.run``."""
        bbox, coverage = self.session.run(self._outputs, {self._input: frames})
        return np.asarray(bbox), np.asarray(coverage)


def open_network(path: Path, threads: int = 1) -> Network:
    """Load a checkpoint or an ONNX file.

    Args:
        path: The file; whatever does not end in ``.onnx`` is a checkpoint.
        threads: Threads of the ONNX file's session, or of torch.

    Raises:
        DataError: The file is missing, damaged, or of another kind.
    """
    if path.suffix.lower() == ".onnx":
        return OnnxNetwork(path, threads)
    if path.suffix.lower() in ENGINES:
        raise DataError(
            path, "is for TensorRT, which a server runs; name a checkpoint or an ONNX file"
        )
    import torch

    from training.detector.checkpoint import read_network

    torch.set_num_threads(threads)
    network = read_network(path)
    return TorchNetwork(network.build(), network.classes, network.size_wh)


def check_classes(network: Network, path: Path, names: Sequence[str], spec: Path) -> None:
    """Hold a network's classes to those of a spec.

    Args:
        network: The network.
        path: Its file.
        names: The classes of the spec.
        spec: The spec's file.

    Raises:
        DataError: They are others, or in another order.
    """
    if network.classes and tuple(names) != network.classes:
        raise DataError(
            spec,
            f"has the classes {', '.join(names)}; those of {path} are {', '.join(network.classes)}",
        )


def find_boxes(
    network: Network, image: Image.Image, clustering: Sequence[ClusteringParameters]
) -> Detections:
    """Find the objects of a photo.

    Args:
        network: The network.
        image: The upright photo.
        clustering: The clustering, one a class.

    Returns:
        Boxes in pixels of the photo.
    """
    bbox, coverage = network.run(network_input(image, network.size_wh)[None])
    return detect(bbox[0], coverage[0], size_wh=image.size, parameters=clustering)
