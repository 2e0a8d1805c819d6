"""Plain tritonclient calls from arrays, as another service would write them."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype


def infer(
    client: Any,
    module: ModuleType,
    model: str,
    inputs: dict[str, np.ndarray],
    outputs: Sequence[str] = (),
) -> Any:
    """Call ``model`` with ``client`` of ``module`` (tritonclient.grpc or .http)."""
    tensors = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        tensors.append(tensor)
    wanted = [module.InferRequestedOutput(name) for name in outputs] or None
    return client.infer(model, tensors, outputs=wanted)


def batch(photos: Sequence[bytes]) -> np.ndarray:
    """Encoded photos as one UINT8 tensor, zeros behind each."""
    padded = np.zeros((len(photos), max(map(len, photos))), np.uint8)
    for row, photo in zip(padded, photos, strict=True):
        row[: len(photo)] = np.frombuffer(photo, np.uint8)
    return padded
