"""A small ``triton_python_backend_utils``: what the adapters use of it, strict about types."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        assert isinstance(array, np.ndarray)
        assert array.flags.c_contiguous
        self._name, self._array = name, array
        array.flags.writeable = False  # Triton's tensors are views of its own memory

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError(Exception):
    INVALID_ARG, UNAVAILABLE, INTERNAL = "INVALID_ARG", "UNAVAILABLE", "INTERNAL"

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class InferenceResponse:
    def __init__(
        self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None
    ) -> None:
        self.tensors = {t.name(): t.as_numpy() for t in output_tensors or []}
        self.error = error


def get_input_tensor_by_name(request: dict[str, np.ndarray], name: str) -> Tensor:
    return Tensor(name, request[name])


@pytest.fixture(autouse=True)
def pb_utils(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fake = SimpleNamespace(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=InferenceResponse,
        get_input_tensor_by_name=get_input_tensor_by_name,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    yield
    # The adapters have bound the fake by import: the next test gets them fresh.
    for name in [n for n in sys.modules if n.startswith("facekit.adapters")]:
        del sys.modules[name]
