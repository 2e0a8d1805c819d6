"""What a running server tells of itself: its models' settings and the time of their steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from facekit.client.connection import MAX_TIMEOUT_S, Connection
from facekit.contract import MODELS, is_optional
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.errors import ServerError

_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Stage:
    """Mean time of one model a request, from Triton's statistics, in milliseconds.

    Attributes:
        model: Its name.
        requests: How many requests it answered.
        batch: Mean samples of one execution.
        queue_ms: Waiting for a free instance.
        input_ms: Gathering the inputs.
        infer_ms: The model itself; for Triton's Python backend everything but the queue.
        output_ms: Handing on the outputs.
    """

    model: str
    requests: int
    batch: float
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float


@dataclass(frozen=True)
class Settings:
    """How a server is configured.

    Attributes:
        color: What FaceNet is fed, ``gray`` or ``rgb``.
        parameters: The clustering's, one a class.
        points: Landmarks of a face.
        reduces: Whether large JPEGs are decoded smaller.
    """

    color: str
    parameters: list[ClusteringParameters]
    points: int
    reduces: bool


class ServerInfo:
    """Asks a server about itself.

    Args:
        url: ``host:port`` of its gRPC endpoint.
    """

    def __init__(self, url: str) -> None:
        # With the options of every client of the kit, such as no proxy to this machine's servers.
        self._client = triton.InferenceServerClient(**Connection(url, MAX_TIMEOUT_S).arguments())

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def version(self) -> str:
        """Return Triton's version.

        Raises:
            ServerError: There is no server.
        """
        return str(self._ask(self._client.get_server_metadata).version)

    def serves(self, model: str) -> bool:
        """Whether it has a model; one that every server must have counts as there."""
        if not is_optional(model):
            return True
        try:
            self._client.get_model_config(model)
        except InferenceServerException:
            return False
        return True

    def instances(self) -> dict[str, str]:
        """Return backend, instance count and threads of every model the kit knows.

        Raises:
            ServerError: There is no server, or it does not serve one of the models.
        """
        found = {}
        for name in filter(self.serves, MODELS):
            config = self._ask(self._client.get_model_config, name).config
            count = sum(group.count for group in config.instance_group)
            if config.platform != "ensemble":
                threads = [
                    f", {key} {config.parameters[key].string_value}"
                    for key in ("intra_op_thread_count", "num_threads")
                    if key in config.parameters
                ]
                found[name] = f"{config.backend} x{count}{''.join(threads)}"
        return found

    def settings(self) -> Settings:
        """Return what the bound must know to do the same work.

        Raises:
            ServerError: There is no server, or it does not serve the models.
            ConfigError: The parameters can't be read.
        """
        preprocess = self._ask(self._client.get_model_config, "facenet_preprocess").config
        postprocess = self._ask(self._client.get_model_config, "facenet_postprocess").config
        texts = {name: value.string_value for name, value in postprocess.parameters.items()}
        classes = int(postprocess.input[1].dims[0])
        names = [f"class {k}" for k in range(classes)]
        fpenet = self._ask(self._client.get_model_config, "fpenet").config
        reduce = self._ask(self._client.get_model_config, "photo_reduce").config
        return Settings(
            color=preprocess.default_model_filename.partition(".")[0],
            parameters=parse_parameters(texts, names, others=("label_file",)),
            points=int(fpenet.output[0].dims[0]),
            reduces="reduced_decode" in reduce.parameters,
        )

    def counters(self) -> dict[str, Any]:
        """Return Triton's statistics by model, to be given to ``stages_since``.

        Raises:
            ServerError: There is no server.
        """
        answer = self._ask(self._client.get_inference_statistics)
        return {entry.name: entry for entry in answer.model_stats if entry.name in MODELS}

    def stages_since(self, before: dict[str, Any]) -> list[Stage]:
        """Return the mean times of the models that answered requests since ``before``.

        Raises:
            ServerError: There is no server.
        """
        stages = []
        for name, now in self.counters().items():
            old = before[name]
            requests = now.inference_stats.success.count - old.inference_stats.success.count
            if requests <= 0:
                continue
            spent = [
                (getattr(now.inference_stats, phase).ns - getattr(old.inference_stats, phase).ns)
                / requests
                / 1e6
                for phase in _PHASES
            ]
            executions = now.execution_count - old.execution_count
            samples = now.inference_count - old.inference_count
            stages.append(Stage(name, requests, samples / max(executions, 1), *spent))
        order = list(MODELS)
        return sorted(stages, key=lambda stage: order.index(stage.model))

    def _ask(self, question: Any, *args: Any) -> Any:
        try:
            return question(*args)
        except InferenceServerException as e:
            raise ServerError(e.message()) from e
