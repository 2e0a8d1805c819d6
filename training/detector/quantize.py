"""An exported detector in INT8, by onnxruntime's quantizer, calibrated with photos.

The file keeps its inputs and outputs in float32 and its precision in pairs of QuantizeLinear and
DequantizeLinear, which onnxruntime runs in INT8 and TensorRT takes as explicit quantization; the
zero points are 0, as TensorRT needs them. The heads stay in float32: a box offset counts in units
of 35 pixels, of which 8 bits would leave steps of some pixels.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from facekit.errors import DataError, writing
from facekit.files import write_whole
from facekit.progress import ProgressBar
from training.detector.infer import find_photos
from training.detector.inference import network_input
from training.export import IR_VERSION, OPSET, PRODUCER
from training.facesets import load_image

LOGGER = logging.getLogger("training")
QUANTIZED = ("Conv", "Add", "Relu")
"""Kinds of nodes to compute in INT8: all that the backbone consists of."""


class _Frames(CalibrationDataReader):  # type: ignore[misc]
    """Hands photos to the quantizer one at a time, as the served network would see them."""

    def __init__(self, name: str, paths: list[Path], size_wh: tuple[int, int], gray: bool) -> None:
        self.name, self.size_wh, self.gray = name, size_wh, gray
        self.left, self.used = iter(paths), 0
        self.bar = ProgressBar(len(paths), "calibration photos")

    def get_next(self) -> dict[str, Any] | None:
        """Return the next photo's frame by the input's name, None when there are enough."""
        for path in self.left:
            try:
                image = load_image(path)
            except DataError as error:
                LOGGER.warning("%s", error)
                continue
            self.used += 1
            self.bar.advance()
            return {self.name: network_input(image, self.size_wh, gray=self.gray)[None]}
        return None


def quantize(
    plain: Path,
    path: Path,
    photos: Path,
    count: int,
    size_wh: tuple[int, int],
    *,
    gray: bool = False,
) -> int:
    """Write an exported file in INT8; return how many photos were used.

    ``count`` photos, spread over the names of the folder ``photos``, calibrate it; one that can't
    be used is named and left out. ``size_wh`` is the network's frame; ``gray`` where it is served
    gray photos. ``path`` is replaced only by a whole file. Raises DataError if there is no usable
    photo, or the file can't be written.
    """
    found = find_photos(photos)
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    source = onnx.load(plain)
    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / "int8.onnx"
        frames = _Frames(source.graph.input[0].name, [found[k] for k in chosen], size_wh, gray)
        with _quiet(), frames.bar, writing(quantized):
            try:
                quantize_static(
                    str(plain),
                    str(quantized),
                    frames,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(QUANTIZED),
                    nodes_to_exclude=heads(source),
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                    extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
                )
            except ValueError as error:
                if frames.used == 0:
                    raise DataError(photos, "contains no photo to calibrate by") from error
                raise
        graph = onnx.load(quantized)
    _finish(graph, source, frames.used)
    with writing(path):
        write_whole(path, graph.SerializeToString())
    return frames.used


def heads(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions that the outputs come from, and of what follows them."""
    wanted = {output.name for output in graph.graph.output}
    names = []
    for node in reversed(graph.graph.node):
        if wanted.intersection(node.output):
            names.append(node.name)
            if node.op_type != "Conv":
                wanted.update(node.input)
    return names


def _finish(graph: onnx.ModelProto, source: onnx.ModelProto, used: int) -> None:
    """Give the file the versions and notes of the one it came from, and check it."""
    graph.ir_version = IR_VERSION
    graph.producer_name, graph.producer_version = PRODUCER, ""
    graph.doc_string = source.doc_string
    versions = {opset.domain: opset.version for opset in graph.opset_import}
    if versions.get("") != OPSET:
        raise ValueError(f"the quantizer changed the opset to {versions}")
    del graph.metadata_props[:]
    graph.metadata_props.extend(source.metadata_props)
    graph.metadata_props.add(key="int8_calibration_photos", value=str(used))
    onnx.checker.check_model(graph, full_check=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice, which it writes to the root logger, from the user."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
