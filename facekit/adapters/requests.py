"""Shared by all Python models: reading tensors, answering each request alone, padding."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    array: Array = read_tensor(request, name).as_numpy()
    return array


def read_tensor(request: Request, name: str) -> Any:
    """Return one input as Triton's tensor, which is passed on to another model without a copy."""
    return pb_utils.get_input_tensor_by_name(request, name)


def read_parameters(request: Request) -> dict[str, Any]:
    """Return the parameters of a request by name."""
    parameters: dict[str, Any] = json.loads(request.parameters() or "{}")
    return parameters


def tensor(name: str, array: Array) -> Any:
    """Return a Triton tensor of an array."""
    return pb_utils.Tensor(name, np.ascontiguousarray(array))


def respond(outputs: dict[str, Array]) -> Response:
    """Return a response of named arrays."""
    return pb_utils.InferenceResponse([tensor(name, array) for name, array in outputs.items()])


class _FailureCounters:
    """Counters of failed requests for the metrics page, by gRPC status.

    Triton counts a Python model's error response as a success. It adds up the counters of one name
    over all backend processes.
    """

    def __init__(self) -> None:
        self._family: Any = None
        self._counters: dict[str, Any] = {}

    def add(self, reason: str) -> None:
        """Count one failure; ``reason`` is the gRPC status."""
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
            # The server runs without metrics; the caller still gets the answer.
            return


_FAILURES = _FailureCounters()


def refuse(error: Exception) -> Response:
    """Return an error response whose gRPC status blames the caller or the server."""
    if isinstance(error, InputError):
        code, reason = pb_utils.TritonError.INVALID_ARG, "INVALID_ARGUMENT"
    elif isinstance(error, ServerUnavailableError):
        code, reason = pb_utils.TritonError.UNAVAILABLE, "UNAVAILABLE"
    else:
        code, reason = pb_utils.TritonError.INTERNAL, "INTERNAL"
    _FAILURES.add(reason)
    text = str(error) if isinstance(error, FacekitError) else f"{type(error).__name__}: {error}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code))


class EachRequest:
    """A model that answers every request by itself, so that one bad request fails alone.

    The shared memory of the input ``drops``, which may be large, is released.
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
            except Exception as error:  # the other requests must get their answers
                responses.append(refuse(error))
        if large:
            trim_heap()
        return responses

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        raise NotImplementedError


@contextmanager
def naming_photo(index: int, count: int) -> Iterator[None]:
    """Prefix input errors of a block with the photo they are about, such as "photo 2 of 8"."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"photo {index + 1} of {count}: {error}") from error


def pad(arrays: Sequence[Array], fill: int = 0) -> Array:
    """Stack arrays of unequal shapes, each padded at the end of its axes with ``fill``."""
    if len(arrays) == 1:
        return arrays[0][None]
    shape = np.max([array.shape for array in arrays], axis=0)
    batch = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(batch, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return batch


class ModelFiles:
    """A model's parsed configuration, its parameters by name, and its folder in the repository."""

    def __init__(self, args: dict[str, str]) -> None:
        self.config: dict[str, Any] = json.loads(args["model_config"])
        self.folder = Path(args["model_repository"])
        self.parameters: dict[str, str] = {
            name: value["string_value"] for name, value in self.config.get("parameters", {}).items()
        }
