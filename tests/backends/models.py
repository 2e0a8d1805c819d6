"""Small DALI and ONNX models and their configurations, made where a test needs them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from nvidia.dali import fn, pipeline_def, types
from onnx import TensorProto, helper
from PIL import Image

from facekit.backends.model_config import ModelConfig
from facekit.contract import TensorSpec

DALI_CONFIG = """
backend: "dali"
max_batch_size: 8
input [ { name: "photo" data_type: TYPE_UINT8 dims: [ -1 ] allow_ragged_batch: true } ]
output [
  { name: "pixels" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] },
  { name: "length" data_type: TYPE_INT32 dims: [ 1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 20000 }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

ONNX_CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [
  { name: "twice" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "square" data_type: TYPE_FP32 dims: [ -1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 20000 }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""

PHOTO = TensorSpec("photo", "UINT8", (-1,))
PIXELS = TensorSpec("pixels", "UINT8", (-1, -1, 3))
LENGTH = TensorSpec("length", "INT32", (1,))
X = TensorSpec("x", "FP32", (-1,))
TWICE = TensorSpec("twice", "FP32", (-1,))
SQUARE = TensorSpec("square", "FP32", (-1,))


def jpeg(width: int, height: int, value: int = 128) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A JPEG of one gray tone, as uint8 (n,)."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (value,) * 3).save(stream, "JPEG")
    return np.frombuffer(stream.getvalue(), np.uint8)


def write_dali(path: Path) -> None:
    """``photo`` -> decoded pixels [H, W, 3], and the number of encoded bytes [1]."""

    @pipeline_def(batch_size=8, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipeline() -> Any:
        photo = fn.external_source(name="photo", dtype=types.UINT8, ndim=1)
        pixels = fn.decoders.image(photo, output_type=types.RGB)
        return pixels, fn.cast(photo.shape(), dtype=types.INT32)

    path.parent.mkdir(parents=True, exist_ok=True)
    pipeline().serialize(filename=str(path))


def write_onnx(path: Path, batch: str | int = "n") -> None:
    """``x`` -> ``twice`` and ``square``, float32 [batch, any length]."""
    shape = [batch, "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "x"], ["twice"]),
            helper.make_node("Mul", ["x", "x"], ["square"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("twice", "square")
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def config(file: Path, **changes: Any) -> ModelConfig:
    """A configuration as the backends get it: of the ONNX model, unless changed."""
    values: dict[str, Any] = {
        "name": "tiny",
        "max_batch_size": 8,
        "inputs": (X,),
        "outputs": (TWICE, SQUARE),
        "file": file,
        "parameters": {},
    }
    return ModelConfig(**(values | changes))


def dali_config(file: Path, **changes: Any) -> ModelConfig:
    """A configuration of the DALI model."""
    return config(file, **({"inputs": (PHOTO,), "outputs": (PIXELS, LENGTH)} | changes))
