"""Stand-in for Triton's ONNX Runtime backend: serves ``model.onnx`` through its Python module.

It reads the native backend's parameters and checks names, data types and dims as strictly.
"""

from collections.abc import Mapping, Sequence

from facekit.backends.model_config import ModelConfig
from facekit.backends.onnxruntime.session import OnnxSession
from facekit.backends.stand_in import Array, StandIn
from facekit.errors import FacekitError


class TritonPythonModel(StandIn):
    """Called by Triton's Python backend."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the network."""
        self._session = OnnxSession(ModelConfig.from_args(args, "model.onnx"))

    def run(
        self, requests: Sequence[dict[str, Array]], wanted: Sequence[Sequence[str]]
    ) -> Sequence[dict[str, Array] | FacekitError]:
        """Return the wanted outputs by name, or the error, of every request."""
        return self._session.run(requests, wanted)
