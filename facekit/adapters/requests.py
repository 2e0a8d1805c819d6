"""What all Python models share: reading tensors, answering each request alone, padding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from facekit.errors import FacekitError, InputError, ServerUnavailableError
from facekit.shared_pages import drop_pages, trim_heap

# Triton's request, response and tensor types exist inside the server only.
Request = Any
Response = Any
Array = npt.NDArray[Any]


def read(request: Request, name: str) -> Array:
    """Return one input tensor, batch dimension first."""
    tensor: Array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return tensor


def read_tensor(request: Request, name: str) -> Any:
    """Return one input as Triton's tensor, which another model can be given without a copy."""
    return pb_utils.get_input_tensor_by_name(request, name)


def respond(outputs: dict[str, Array]) -> Response:
    """Return a response of named arrays."""
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
    )


class _Refusals:
    """Counts refused requests for the metrics page.

    Triton counts a Python model's error response as a success, so its own counters miss them. One
    of this name adds up over all backend processes.
    """

    def __init__(self) -> None:
        self._family: Any = None
        self._counters: dict[str, Any] = {}

    def add(self, reason: str) -> None:
        """Count one; ``reason`` is the gRPC status."""
        try:
            if self._family is None:
                self._family = pb_utils.MetricFamily(
                    name="facekit_request_failure",
                    description="Number of requests answered with an error, by gRPC status",
                    kind=pb_utils.MetricFamily.COUNTER,
                )
            if reason not in self._counters:
                self._counters[reason] = self._family.Metric(labels={"reason": reason})
            self._counters[reason].increment(1)
        except pb_utils.TritonModelException:
            # The server runs without metrics; the caller gets the answer all the same.
            return


_REFUSALS = _Refusals()


def refuse(error: Exception) -> Response:
    """Return an error response whose gRPC status tells whose fault it is."""
    if isinstance(error, InputError):
        code, reason = pb_utils.TritonError.INVALID_ARG, "INVALID_ARGUMENT"
    elif isinstance(error, ServerUnavailableError):
        code, reason = pb_utils.TritonError.UNAVAILABLE, "UNAVAILABLE"
    else:
        code, reason = pb_utils.TritonError.INTERNAL, "INTERNAL"
    _REFUSALS.add(reason)
    text = str(error) if isinstance(error, FacekitError) else f"{type(error).__name__}: {error}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


class EachRequest:
    """A model that answers every request by itself, so that one bad request fails alone.

    Attributes:
        drops: The input that may be large: its shared memory is given back.
    """

    drops: str | None = None

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests one after another; called by Triton."""
        responses = []
        large = False
        for request in requests:
            try:
                if self.drops is not None:
                    large |= drop_pages(read_tensor(request, self.drops))
                responses.append(respond(self.answer(request)))
            except Exception as error:  # whatever it is, the others must get their answers
                responses.append(refuse(error))
        if large:
            trim_heap()
        return responses

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        raise NotImplementedError


def place(noun: str, index: int, count: int) -> str:
    """Name a sample of a batch for an error text, such as "photo 2 of 8"."""
    return f"{noun} {index + 1} of {count}"


def pad(arrays: Sequence[Array], fill: int = 0) -> Array:
    """Stack arrays of unequal shapes, filled up behind each."""
    if len(arrays) == 1:
        return arrays[0][None]
    shape = np.max([array.shape for array in arrays], axis=0)
    batch = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(batch, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return batch


class ModelFiles:
    """A model's own configuration, as ``initialize`` gets it.

    Attributes:
        config: The model's configuration, parsed.
        folder: The model's folder in the repository.
        parameters: The configuration's ``parameters``, name to text.
    """

    def __init__(self, args: dict[str, str]) -> None:
        self.config: dict[str, Any] = json.loads(args["model_config"])
        self.folder = Path(args["model_repository"])
        self.parameters: dict[str, str] = {
            name: value["string_value"] for name, value in self.config.get("parameters", {}).items()
        }
