"""A stand-in for the Docker SDK's client: remembers what was asked of it, answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound

MACHINE = {"tensorrt": "8.6.3", "gpus": [{"name": "NVIDIA A10", "compute_capability": "8.6"}]}


def api_error(said: str) -> APIError:
    """The engine's refusal, as the SDK raises it."""
    return APIError("500 Server Error", explanation=said)


class FakeEngine:
    """The client.

    Args:
        images: the names of what is there.
        machine: what the probe of the GPU prints.
        probe_error: what the probe raises.
        info: more of what the engine says of itself.
        version: more of its version.
        state: of the container that Compose has run; ``None`` for no container.
        on_stop: called when that container is stopped.
    """

    def __init__(
        self,
        images: Iterable[str] = (),
        *,
        machine: dict[str, Any] | None = None,
        probe_error: Exception | None = None,
        info: dict[str, Any] | None = None,
        version: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.there, self.calls = set(images), list[str]()
        self.variables = ["PATH=/bin"]  # of every image
        self.probed: list[dict[str, Any]] = []
        self._machine = {"notes": [], **MACHINE, **(machine or {})}
        self._probe_error, self._state, self._on_stop = probe_error, state, on_stop
        self._info = {"Runtimes": {"runc": {}, "nvidia": {}}, "DockerRootDir": "/", **(info or {})}
        self._version = {
            "Version": "24.0.7",
            "ApiVersion": "1.43",
            "Os": "linux",
            "Arch": "amd64",
            **(version or {}),
        }
        self.images = SimpleNamespace(get=self._image)
        self.containers = SimpleNamespace(run=self._run, get=self._container)

    def version(self) -> dict[str, Any]:
        return self._version

    def info(self) -> dict[str, Any]:
        return self._info

    def _image(self, name: str) -> Any:
        if name not in self.there:
            raise ImageNotFound(f"no such image: {name}")
        return SimpleNamespace(attrs={"Config": {"Env": list(self.variables)}})

    def _container(self, name: str) -> Any:
        if self._state is None:
            raise NotFound(f"no such container: {name}")
        return SimpleNamespace(attrs={"State": self._state}, stop=self._stop, remove=self._remove)

    def _stop(self, timeout: int) -> None:
        self.calls.append("stop")
        self._on_stop()

    def _remove(self, force: bool) -> None:
        self.calls.append("remove")

    def _run(self, image: str, command: list[str], **options: Any) -> bytes:
        self.probed.append(options)
        if self._probe_error is not None:
            raise self._probe_error
        return (json.dumps(self._machine) + "\n").encode()
