"""Stand-in for Triton's DALI backend: serves ``model.dali`` through DALI's Python module.

It follows the native backend: outputs are matched by position, every sample of a request has one
shape, ``num_threads`` is the only parameter. Unlike it, a photo that cannot be decoded fails its
own request only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from facekit.backends.dali.pipeline import DaliPipeline
from facekit.backends.model_config import ModelConfig
from facekit.errors import FacekitError, InputError
from facekit.shared_pages import drop_pages, trim_heap


class TritonPythonModel:
    """What Triton's Python backend calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the pipeline."""
        self._config = ModelConfig.from_args(args, "model.dali")
        self._pipeline = DaliPipeline(self._config)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer every request."""
        batched = self._config.max_batch_size > 0
        inputs, large = [], False
        for request in requests:
            arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            inputs.append(arrays if batched else {name: a[None] for name, a in arrays.items()})
            for tensor in request.inputs():
                large |= drop_pages(tensor)
        results = self._pipeline.run(inputs)
        if large:
            trim_heap()
        return [
            self._response(request, result, batched)
            for request, result in zip(requests, results, strict=True)
        ]

    def _response(self, request: Any, result: list[Any] | FacekitError, batched: bool) -> Any:
        if isinstance(result, FacekitError):
            code = pb_utils.TritonError.INTERNAL
            if isinstance(result, InputError):
                code = pb_utils.TritonError.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(result), code))
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(spec.name, array if batched else array[0])
                for spec, array in zip(self._config.outputs, result, strict=True)
                if spec.name in wanted
            ]
        )
