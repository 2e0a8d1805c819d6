"""Tells by real inferences whether a server works.

Triton's own ready flag stays up when a backend process has died and every request fails.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.connection import Connection
from facekit.client.failures import translate
from facekit.contract import MODELS
from facekit.errors import (
    DeadlineError,
    FacekitError,
    ModelMissingError,
    ServerError,
    ServerUnavailableError,
)
from facekit.serving.probe_tensors import check_answer, probe_input

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


@dataclass(frozen=True)
class ModelHealth:
    """How one model answered the built-in photo; ``error`` is ``None`` if it did."""

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
    """A server's state: its own word (``claims_ready``) and what real inferences gave."""

    url: str
    claims_ready: bool
    models: tuple[ModelHealth, ...]
    error: str | None = None

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
            "models": {model.name: model.to_dict() for model in self.models},
        }


class Prober:
    """Sends real inferences to one server.

    Args:
        connection: where the server is, and how long one inference may take.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._triton = InferenceServerClient(**connection.arguments())

    def served(self, timeout_s: float | None = None) -> tuple[str, ...]:
        """Return the names of the models that are served and can be probed.

        Args:
            timeout_s: what one of the calls may take; by default what the connection says.

        Raises:
            DeadlineError: the server does not answer in time.
            ServerError: the server does not answer.
        """
        served = self._instances_by_model(timeout_s or self._connection.timeout_s)
        return tuple(name for name in PROBED if name in served)

    def probe(self, name: str, timeout_s: float | None = None) -> ModelHealth:
        """Run one real inference of the built-in photo through a model.

        Args:
            name: the model.
            timeout_s: what it may take; by default what the connection says.
        """
        spec = MODELS[name]
        timeout_s = timeout_s or self._connection.timeout_s
        started = time.monotonic()
        error: FacekitError | None = None
        try:
            answer = self._triton.infer(
                name,
                [probe_input(tensor) for tensor in spec.inputs],
                client_timeout=timeout_s,
            )
            check_answer(spec, answer)
        except InferenceServerException as e:
            error = self._translated(e, name, timeout_s)
        except FacekitError as e:
            error = e
        return ModelHealth(name, (time.monotonic() - started) * 1e3, error)

    def counts(self, timeout_s: float | None = None) -> dict[str, tuple[int, int]]:
        """Return how many requests each model has answered, and refused, since the start.

        Args:
            timeout_s: what the call may take; by default what the connection says.

        Raises:
            DeadlineError: the server does not answer in time.
            ServerError: the server does not answer.
        """
        timeout_s = timeout_s or self._connection.timeout_s
        try:
            answer = self._triton.get_inference_statistics(client_timeout=timeout_s)
        except InferenceServerException as e:
            raise self._translated(e, "", timeout_s) from e
        return {
            str(model.name): (
                int(model.inference_stats.success.count),
                int(model.inference_stats.fail.count),
            )
            for model in answer.model_stats
        }

    def check(self, *, once: bool = False) -> Health:
        """Probe every served model, within the connection's time for all of them together.

        Args:
            once: each one time, and not so often that every instance gets a turn.
        """
        url, timeout_s = self._connection.url, self._connection.timeout_s
        deadline = time.monotonic() + timeout_s
        try:
            served = self._instances_by_model(timeout_s)
            names = [name for name in PROBED if name in served]
            times = 1 if once else max(served.values(), default=1)
            ready = bool(self._triton.is_server_ready(client_timeout=timeout_s))
        except InferenceServerException as e:
            return Health(url, False, (), str(self._translated(e, "", timeout_s)))
        except FacekitError as e:
            return Health(url, False, (), str(e))
        if not names:
            return Health(url, ready, (), f"it serves none of {', '.join(PROBED)}")
        return Health(url, ready, tuple(self._probe_all(name, times, deadline) for name in names))

    def close(self) -> None:
        """Close the connection."""
        self._triton.close()

    def __enter__(self) -> Prober:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def _probe_all(self, name: str, times: int, deadline: float) -> ModelHealth:
        """Probe a model as often as gives every instance below it a turn; they take turns."""
        results: list[ModelHealth] = []
        while len(results) < times and (not results or results[-1].ok):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                connection = self._connection
                late = DeadlineError(
                    f"no time was left of {connection.timeout_s:g} s for the whole check"
                )
                return ModelHealth(name, 0.0, late)
            results.append(self.probe(name, left_s))
        return results[-1]

    def _instances_by_model(self, timeout_s: float) -> dict[str, int]:
        """Return how many instances each of the kit's models has that the server knows.

        They are asked for one by one: a server may keep its list of models to itself.
        """
        found = {}
        for name in MODELS:
            try:
                answer = self._triton.get_model_config(name, client_timeout=timeout_s)
            except InferenceServerException as e:
                error = self._translated(e, name, timeout_s)
                if isinstance(error, ServerUnavailableError | DeadlineError):
                    raise error from e
                # One that is there and could not be loaded is served badly: its probe will tell.
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
    """Probe every served model of a server.

    Args:
        url: ``host:port`` of the gRPC endpoint.
        timeout_s: what the inferences may take together.
        once: see ``Prober.check``.
        tls_certificate: as for ``facekit.client.Client``.
        **ssl: as for ``facekit.client.Client``.

    Raises:
        ConfigError: an argument is wrong. A server that does not answer is a result.
        SetupError: the certificate's file can't be read.
    """
    connection = Connection(url, timeout_s, tls_certificate=tls_certificate, **ssl)
    try:
        prober = Prober(connection)
    except ServerError as e:
        return Health(url, False, (), str(e))
    with prober:
        return prober.check(once=once)
