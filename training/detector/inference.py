"""Running a detector on photos.

A photo is scaled by Pillow here and by DALI in the server: both average over the source pixels
(antialiased, triangular), and differ by rounding.
"""

import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import Detections, detect
from facekit.errors import DataError

Frames = NDArray[np.float32]
CLASSES_KEY = "classes"
"""Entry of an exported file's metadata: the names of the classes with commas between them."""
ROUNDS = 30
FRAME_WH = (NETWORK_WIDTH, NETWORK_HEIGHT)
"""The frame of the networks that the kit serves."""


def network_input(
    image: Image.Image, size_wh: tuple[int, int] = FRAME_WH, *, gray: bool = False
) -> Frames:
    """Return an upright photo as a detector takes it: stretched to its frame, 0..1.

    The result is float32 [3, height, width]; ``gray`` replicates the gray value to the channels.
    """
    source = image.convert("L") if gray else image.convert("RGB")
    frame = source.resize(size_wh, Image.Resampling.BILINEAR)
    pixels = np.asarray(frame, dtype=np.float32) / np.float32(255)
    if gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def open_session(path: Path, threads: int = 1) -> Any:
    """Load an ONNX file on the CPU for ``threads`` threads.

    Raises DataError if the file is missing, or is not an ONNX file that onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not path.is_file():
        raise DataError(path, "no such file")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, which its stubs do not name
        raise DataError(path, f"is not a network that onnxruntime can run: {error}") from error


def median_ms(run: Callable[[], object]) -> float:
    """Return the median time of one call in milliseconds."""
    return 1000 * float(np.median(timeit.repeat(run, number=1, repeat=ROUNDS)))


class Detector(Protocol):
    """A network that can be run."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the channels; empty if the file has none."""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the frame."""

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """Return the box offsets and coverages of frames, float32 [n, 3, height, width] in 0..1.

        They are float32 [n, 4 * classes, height/16, width/16] and [n, classes, ...].
        """


@dataclass(frozen=True)
class TorchDetector:
    """A ``DetectNet`` in PyTorch, in evaluation mode, on any device."""

    model: Any
    classes: tuple[str, ...]
    size_wh: tuple[int, int] = FRAME_WH

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """See ``Detector.run``."""
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            bbox, coverage = self.model(torch.from_numpy(frames).to(device))
        return bbox.float().cpu().numpy(), coverage.float().cpu().numpy()


class OnnxDetector:
    """A network in an ONNX file, on the CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load the file; raises DataError if it is missing, damaged, or not a detector."""
        self.session = open_session(path, threads)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 2:
            count = f"{len(inputs)} inputs and {len(outputs)} outputs"
            raise DataError(path, f"is not a detector, which has 1 input and 2 outputs: {count}")
        shape = inputs[0].shape
        if len(shape) != 4 or shape[1] != 3:
            raise DataError(path, f"is not a detector: its input is {shape}")
        if not (isinstance(shape[2], int) and isinstance(shape[3], int)):
            raise DataError(path, f"has a free frame size, {shape}: export it with a fixed one")
        self._input: str = inputs[0].name
        self._outputs = [output.name for output in outputs]
        self.size_wh = (shape[3], shape[2])
        notes = self.session.get_modelmeta().custom_metadata_map
        self.classes = tuple(filter(None, notes.get(CLASSES_KEY, "").split(",")))

    def run(self, frames: Frames) -> tuple[Frames, Frames]:
        """See ``Detector.run``."""
        bbox, coverage = self.session.run(self._outputs, {self._input: frames})
        return np.asarray(bbox), np.asarray(coverage)


def frame_ms(detector: Detector) -> float:
    """Return the median time of a single frame through a network, milliseconds."""
    width, height = detector.size_wh
    frame = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    return median_ms(lambda: detector.run(frame))


def find_boxes(
    detector: Detector,
    image: Image.Image,
    clustering: Sequence[ClusteringParameters],
    *,
    gray: bool = False,
) -> Detections:
    """Find the objects of an upright photo, with the kit's own decoding and clustering.

    The clustering is one a class; ``gray`` as in ``network_input``. Boxes are in pixels of the
    photo.
    """
    bbox, coverage = detector.run(network_input(image, detector.size_wh, gray=gray)[None])
    return detect(bbox[0], coverage[0], size_wh=image.size, parameters=clustering)
