"""Stand-in for Triton's DALI backend: serves ``model.dali`` through DALI's Python module.

As in the native backend, outputs are matched by position, all samples of a request have one shape,
and ``num_threads`` is the only parameter. Unlike there, a photo that cannot be decoded fails only
its own request.
"""

from collections.abc import Mapping, Sequence

from facekit.backends.dali.pipeline import DaliPipeline
from facekit.backends.model_config import ModelConfig
from facekit.backends.stand_in import Array, StandIn
from facekit.errors import FacekitError


class TritonPythonModel(StandIn):
    """Called by Triton's Python backend."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the pipeline."""
        self._config = ModelConfig.from_args(args, "model.dali")
        self._pipeline = DaliPipeline(self._config)

    def run(
        self, requests: Sequence[dict[str, Array]], wanted: Sequence[Sequence[str]]
    ) -> Sequence[dict[str, Array] | FacekitError]:
        """Return the wanted outputs by name, or the error, of every request."""
        batched = self._config.max_batch_size > 0
        if not batched:
            requests = [{name: a[None] for name, a in one.items()} for one in requests]
        return [
            result
            if isinstance(result, FacekitError)
            else {
                spec.name: array if batched else array[0]
                for spec, array in zip(self._config.outputs, result, strict=True)
                if spec.name in names
            }
            for result, names in zip(self._pipeline.run(requests), wanted, strict=True)
        ]
