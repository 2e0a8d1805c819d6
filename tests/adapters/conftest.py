"""A small ``triton_python_backend_utils``: what the adapters use of it, strict about types."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest


class Request(dict[str, np.ndarray]):
    """Inputs by name, the outputs that are asked for, and the request's parameters."""

    def __init__(
        self,
        inputs: dict[str, np.ndarray],
        outputs: Iterable[str] = (),
        parameters: dict[str, object] | None = None,
    ) -> None:
        super().__init__(inputs)
        self._outputs = list(outputs)
        self._parameters = parameters or {}

    def parameters(self) -> str:
        return json.dumps(self._parameters)

    def requested_output_names(self) -> list[str]:
        return self._outputs


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

    def __dlpack__(self, **_: object) -> object:
        return self._array.copy().__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


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


class InferenceRequest:
    """A call to another model, answered by ``MODELS``: name to what it does with its inputs."""

    MODELS: ClassVar[dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]] = {}

    def __init__(
        self,
        *,
        model_name: str,
        requested_output_names: list[str],
        inputs: list[Tensor],
        preferred_memory: object,
        parameters: dict[str, str],
    ) -> None:
        assert preferred_memory == ("memory", 0)
        assert parameters == {} or "detect" in model_name or "postprocess" in model_name
        self._model, self._outputs = model_name, requested_output_names
        self._inputs = {t.name(): t.as_numpy() for t in inputs}

    async def async_exec(self) -> SimpleNamespace:
        await asyncio.sleep(0)
        try:
            answer = self.MODELS[self._model](self._inputs)
        except TritonError as raised:
            text, code = str(raised), raised.code
            error = SimpleNamespace(message=lambda: text, code=lambda: code)
            return SimpleNamespace(has_error=lambda: True, error=lambda: error)
        tensors = [Tensor(name, answer[name].copy()) for name in self._outputs]
        return SimpleNamespace(has_error=lambda: False, tensors=tensors)


def get_output_tensor_by_name(response: SimpleNamespace, name: str) -> Tensor:
    (tensor,) = (t for t in response.tensors if t.name() == name)
    return tensor


def get_input_tensor_by_name(request: dict[str, np.ndarray], name: str) -> Tensor:
    return Tensor(name, request[name])


class MetricFamily:
    """Counts as the server does: one family of a name, one counter a set of labels."""

    COUNTER = "counter"
    totals: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self, name: str, description: str, kind: str) -> None:
        assert description and kind == self.COUNTER
        self._name = name

    def Metric(self, labels: dict[str, str]) -> SimpleNamespace:  # noqa: N802
        key = (self._name, labels["reason"])
        return SimpleNamespace(increment=lambda by: self.totals.update({key: by}))


@pytest.fixture(autouse=True)
def pb_utils(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    fake = SimpleNamespace(
        Tensor=Tensor,
        TritonError=TritonError,
        TritonModelException=RuntimeError,
        MetricFamily=MetricFamily,
        InferenceResponse=InferenceResponse,
        InferenceRequest=InferenceRequest,
        PreferredMemory=lambda kind, device: (kind, device),
        TRITONSERVER_MEMORY_CPU="memory",
        get_input_tensor_by_name=get_input_tensor_by_name,
        get_output_tensor_by_name=get_output_tensor_by_name,
    )
    MetricFamily.totals.clear()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    yield fake
    # The adapters have bound the fake by import: the next test gets them fresh.
    for name in [n for n in sys.modules if n.startswith("facekit.adapters")]:
        del sys.modules[name]
