"""Shared by the stand-in backends: reading requests and answering each of them."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from facekit.errors import FacekitError, InputError
from facekit.shared_pages import drop_pages, trim_heap

Array = npt.NDArray[Any]


class StandIn:
    """A ``TritonPythonModel`` that answers all its requests together."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request; called by Triton."""
        inputs, large = [], False
        for request in requests:
            inputs.append({tensor.name(): tensor.as_numpy() for tensor in request.inputs()})
            for tensor in request.inputs():
                large |= drop_pages(tensor)
        wanted = [list(request.requested_output_names()) for request in requests]
        results = self.run(inputs, wanted)
        if large:
            trim_heap()
        return [_response(result) for result in results]

    def run(
        self, requests: Sequence[dict[str, Array]], wanted: Sequence[Sequence[str]]
    ) -> Sequence[dict[str, Array] | FacekitError]:
        """Return the wanted outputs by name, or the error, of every request."""
        raise NotImplementedError


def _response(result: dict[str, Array] | FacekitError) -> Any:
    if isinstance(result, FacekitError):
        code = pb_utils.TritonError.INTERNAL
        if isinstance(result, InputError):
            code = pb_utils.TritonError.INVALID_ARG
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(result), code))
    tensors = [pb_utils.Tensor(name, array) for name, array in result.items()]
    return pb_utils.InferenceResponse(tensors)
