"""Tells by real inferences whether a server works.

Triton's own ready flag stays up when a backend process has died and every request fails.
"""

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.calls import Call, model_call, outputs_of
from facekit.client.connection import Connection
from facekit.client.failures import translate
from facekit.closing import Closing
from facekit.contract import MODELS, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.data import probe_photo
from facekit.engines.releases import known_holes
from facekit.errors import (
    DeadlineError,
    FacekitError,
    ModelMissingError,
    ServerError,
    ServerUnavailableError,
)

PROBED = (
    "faces",
    "facenet_ensemble",
    "fpenet_ensemble",
    "landmarks",
    "facenet_resized",
    "facemask_ensemble",
)
"""The models that callers use; together they run through every other one but ``photo_check``, which
no model of the kit calls."""

# What Triton says of a model in its repository that it could not load.
_NOT_LOADED = "has no available versions"
# A box on the built-in photo; what is in it does not matter to a probe.
_BOX = (80, 60, 200, 180)


@dataclass(frozen=True)
class ModelHealth:
    """How one model answered the built-in photo; ``error`` is None if it did."""

    name: str
    latency_ms: float
    error: FacekitError | None

    @property
    def ok(self) -> bool:
        """Whether it answered as the tensor contract says."""
        return self.error is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = None if self.error is None else str(self.error)
        return {"ok": self.ok, "latency_ms": round(self.latency_ms, 2), "error": error}


@dataclass(frozen=True)
class Health:
    """A server's state: its own ready flag (``claims_ready``) and the result of real inferences.

    ``version`` is Triton's; "" if it is not known.
    """

    url: str
    claims_ready: bool
    models: tuple[ModelHealth, ...]
    error: str | None = None
    version: str = ""

    @property
    def ok(self) -> bool:
        """Whether every probed model answered."""
        return bool(self.models) and all(model.ok for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "url": self.url,
            "ok": self.ok,
            "claims_ready": self.claims_ready,
            "error": self.error,
            "version": self.version,
            "known_holes": known_holes(self.version),
            "models": {model.name: model.to_dict() for model in self.models},
        }


class Prober(Closing):
    """Sends real inferences to one server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._triton = connection.opened(InferenceServerClient)

    def served(self, timeout_s: float) -> tuple[str, ...]:
        """Return the names of the models that are served and can be probed.

        Raises ServerError if the server does not answer within ``timeout_s``.
        """
        served = self._instances_by_model(timeout_s)
        return tuple(name for name in PROBED if name in served)

    def probe(self, name: str, timeout_s: float) -> ModelHealth:
        """Run one real inference of the built-in photo through a model, within ``timeout_s``."""
        started = time.monotonic()
        error: FacekitError | None = None
        try:
            request = _probe_call(name)
            answer = self._triton.infer(name, request.inputs, client_timeout=timeout_s)
            request.read(answer)
        except InferenceServerException as failure:
            error = self._translated(failure, name, timeout_s)
        except FacekitError as failure:
            error = failure
        return ModelHealth(name, (time.monotonic() - started) * 1e3, error)

    def counts(self, timeout_s: float) -> dict[str, tuple[int, int]]:
        """Return how many requests each model has answered, and refused, since the start.

        Raises ServerError if the server does not answer within ``timeout_s``.
        """
        try:
            answer = self._triton.get_inference_statistics(client_timeout=timeout_s)
        except InferenceServerException as error:
            raise self._translated(error, "", timeout_s) from error
        stats = {str(model.name): model.inference_stats for model in answer.model_stats}
        return {
            name: (int(each.success.count), int(each.fail.count)) for name, each in stats.items()
        }

    def version(self, timeout_s: float) -> str:
        """Return Triton's version, such as ``2.51.0``; "" if the server does not tell it."""
        try:
            return str(self._triton.get_server_metadata(client_timeout=timeout_s).version)
        except InferenceServerException:
            return ""

    def check(self, *, once: bool = False) -> Health:
        """Probe every served model, within the connection's time for all of them together.

        Each is probed so often that every instance gets a turn, or one time if ``once``.
        """
        url, timeout_s = self._connection.url, self._connection.timeout_s
        deadline = time.monotonic() + timeout_s
        try:
            served = self._instances_by_model(timeout_s)
            ready = bool(self._triton.is_server_ready(client_timeout=timeout_s))
        except InferenceServerException as error:
            return Health(url, False, (), str(self._translated(error, "", timeout_s)))
        except FacekitError as error:
            return Health(url, False, (), str(error))
        names = [name for name in PROBED if name in served]
        if not names:
            return Health(url, ready, (), f"it serves none of {', '.join(PROBED)}")
        times = 1 if once else max(served.values())
        models = tuple(self._probe_all(name, times, deadline) for name in names)
        return Health(url, ready, models, version=self.version(timeout_s))

    def close(self) -> None:
        """Close the connection."""
        self._triton.close()

    def _probe_all(self, name: str, times: int, deadline: float) -> ModelHealth:
        """Probe a model so often that every instance below it gets a turn, or until it fails."""
        health = ModelHealth(name, 0.0, None)
        for _ in range(times):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                whole = f"{self._connection.timeout_s:g} s for the whole check"
                return ModelHealth(name, 0.0, DeadlineError(f"no time was left of {whole}"))
            health = self.probe(name, left_s)
            if not health.ok:
                break
        return health

    def _instances_by_model(self, timeout_s: float) -> dict[str, int]:
        """Return how many instances each of the kit's models has that the server knows.

        They are asked for one by one: a server may keep its list of models to itself.
        """
        found = {}
        for name in MODELS:
            try:
                answer = self._triton.get_model_config(name, client_timeout=timeout_s)
            except InferenceServerException as failure:
                error = self._translated(failure, name, timeout_s)
                if isinstance(error, ServerUnavailableError | DeadlineError):
                    raise error from failure
                # One that is there and could not be loaded is served badly, as its probe will show.
                if not isinstance(error, ModelMissingError) or _NOT_LOADED in str(error):
                    found[name] = 1
            else:
                groups = answer.config.instance_group
                found[name] = max(1, sum(int(group.count) for group in groups))
        return found

    def _translated(
        self, error: InferenceServerException, model: str, timeout_s: float
    ) -> FacekitError:
        return translate(error, model=model, url=self._connection.url, timeout_s=timeout_s)


def check(
    url: str = "localhost:8001",
    *,
    timeout_s: float = 30.0,
    once: bool = False,
    tls_certificate: str | os.PathLike[str] | None = None,
    **ssl: Any,
) -> Health:
    """Probe every served model of a server, at ``host:port`` of its gRPC endpoint.

    The inferences may take ``timeout_s`` together; ``once`` is as for ``Prober.check``, the others
    as for ``facekit.client.Client``. A server that does not answer is a result. Raises ConfigError
    for a wrong argument, and SetupError if the certificate's file can't be used.
    """
    connection = Connection(url, timeout_s, tls_certificate=tls_certificate, **ssl)
    try:
        prober = Prober(connection)
    except ServerError as error:
        return Health(url, False, (), str(error))
    with prober:
        return prober.check(once=once)


def _probe_call(model: str) -> Call[dict[str, NDArray[Any]]]:
    """Return the request of the built-in photo, or of what goes with it."""
    values: dict[str, NDArray[Any]] = {
        "input_1": np.zeros((3, NETWORK_HEIGHT, NETWORK_WIDTH), np.float32),
        "true_image_size": np.array([NETWORK_HEIGHT, NETWORK_WIDTH, 3], np.int64),
        "true_boxes": np.array(_BOX, np.int32),
        "boxes": np.array([_BOX], np.float32),
    }
    # The encoded photo has other names in other models.
    photo = np.frombuffer(probe_photo(), np.uint8)
    samples = {tensor.name: values.get(tensor.name, photo) for tensor in MODELS[model].inputs}
    return model_call(model, samples, partial(outputs_of, model))
