"""Stand-in for Triton's ONNX Runtime backend: serves ``model.onnx`` through its Python module.

It reads the native backend's parameters and checks names, data types and dims as strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from facekit.backends.model_config import ModelConfig
from facekit.backends.onnxruntime.session import OnnxSession
from facekit.errors import FacekitError
from facekit.shared_pages import drop_pages, trim_heap


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the network."""
        self._session = OnnxSession(ModelConfig.from_args(args, "model.onnx"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request."""
        wanted = [list(request.requested_output_names()) for request in requests]
        inputs = [
            {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            for request in requests
        ]
        large = False
        for request in requests:
            for tensor in request.inputs():
                large |= drop_pages(tensor)
        results = self._session.run(inputs, wanted)
        if large:
            trim_heap()
        return [_response(result) for result in results]


def _response(result: dict[str, Any] | FacekitError) -> Any:
    if isinstance(result, FacekitError):
        error = pb_utils.TritonError(str(result), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in result.items()]
    )
