"""What a probe sends to a model, and what its answer has to be."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH, ModelSpec, TensorSpec
from facekit.data import probe_photo
from facekit.errors import ResponseError

Array = NDArray[Any]

# A box on the built-in photo; what is in it does not matter to a probe.
_BOX = (80, 60, 200, 180)


def probe_input(tensor: TensorSpec) -> InferInput:
    """Return one sample for an input of any model: the built-in photo, or what goes with it."""
    values: dict[str, Array] = {
        "input_1": np.zeros((1, 3, NETWORK_HEIGHT, NETWORK_WIDTH), np.float32),
        "true_image_size": np.array([[NETWORK_HEIGHT, NETWORK_WIDTH, 3]], np.int64),
        "true_boxes": np.array([_BOX], np.int32),
        "boxes": np.array([[_BOX]], np.float32),
    }
    value = values.get(tensor.name)
    if value is None:  # the encoded photo, whatever the model calls it
        value = np.frombuffer(probe_photo(), np.uint8)[None]
    item = InferInput(tensor.name, list(value.shape), tensor.dtype)
    item.set_data_from_numpy(value)
    return item


def check_answer(spec: ModelSpec, answer: Any) -> None:
    """Hold tritonclient's ``InferResult`` for one sample against the contract.

    Raises:
        ResponseError: An output is missing, can't be read, has another shape, or holds a value that
            is not finite.
    """
    for tensor in spec.outputs:
        try:
            value = answer.as_numpy(tensor.name)
        except (ValueError, TypeError, struct.error) as e:
            raise ResponseError(f"{spec.name}: {tensor.name} can't be read: {e}") from e
        if value is None:
            raise ResponseError(f"{spec.name}: the answer has no {tensor.name}")
        dims = (1, *tensor.dims)
        fits = len(value.shape) == len(dims) and all(
            want in (-1, got) for want, got in zip(dims, value.shape, strict=True)
        )
        if not fits:
            raise ResponseError(
                f"{spec.name}: {tensor.name} has the shape {value.shape}, expected {dims}"
            )
        if not np.isfinite(value).all():
            raise ResponseError(f"{spec.name}: {tensor.name} holds values that are not finite")
