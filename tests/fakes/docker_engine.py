"""A stand-in for the Docker SDK's client: remembers what was asked of it, answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from docker.errors import APIError, ImageNotFound

MACHINE = {"tensorrt": "8.6.3", "gpus": [{"name": "NVIDIA A10", "compute_capability": "8.6"}]}


def api_error(said: str) -> APIError:
    """The engine's refusal, as the SDK raises it."""
    return APIError("500 Server Error", explanation=said)


class FakeContainer:
    """One container.

    Args:
        output: pieces of standard output and standard error, as ``attach`` gives them.
        code: its exit code.
        state: more of what the engine knows of its end.
        start_error: what starting it raises.
    """

    def __init__(
        self,
        output: list[tuple[bytes | None, bytes | None]] | None = None,
        *,
        code: int = 0,
        state: dict[str, Any] | None = None,
        start_error: Exception | None = None,
        work: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.name = "quiet_turing"
        self.attrs: dict[str, Any] = {}
        self.calls: list[str] = []
        self.options: dict[str, Any] = {}
        self._output, self._code, self._state = output or [], code, state or {}
        self._start_error, self._work = start_error, work

    def attach(self, **options: Any) -> Iterator[Any]:
        self.calls.append("attach")
        return self._stream()

    def _stream(self) -> Iterator[Any]:
        for piece in self._output:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def start(self) -> None:
        self.calls.append("start")
        if self._start_error is not None:
            raise self._start_error
        if self._work is not None:
            self._work(self.options)

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self._code}

    def reload(self) -> None:
        self.attrs = {"State": self._state}

    def resize(self, height: int, width: int) -> None:
        self.calls.append("resize")

    def stop(self, timeout: int) -> None:
        self.calls.append("stop")

    def remove(self, force: bool = False) -> None:
        self.calls.append("remove")


class FakeEngine:
    """The client.

    Args:
        images: name to labels of what is there.
        container: what ``create`` hands out.
        machine: what the probe of the GPU prints.
        probe_error: what the probe raises.
        build_events: what a build answers.
        pull_events: what a pull answers.
        info: more of what the engine says of itself.
        running: names of converters at work.
    """

    def __init__(
        self,
        images: dict[str, dict[str, str]] | None = None,
        *,
        container: FakeContainer | None = None,
        machine: dict[str, Any] | None = None,
        probe_error: Exception | None = None,
        build_events: list[dict[str, Any]] | None = None,
        pull_events: list[dict[str, Any]] | None = None,
        info: dict[str, Any] | None = None,
        version: dict[str, Any] | None = None,
        running: tuple[str, ...] = (),
    ) -> None:
        self.there = dict(images or {})
        self.container = container or FakeContainer()
        self.created: list[dict[str, Any]] = []
        self.built: list[dict[str, Any]] = []
        self.pulled: list[str] = []
        self.probed: list[dict[str, Any]] = []
        self._machine = {"notes": [], **MACHINE, **(machine or {})}
        self._probe_error = probe_error
        self._build_events, self._pull_events = build_events, pull_events or []
        self._info = {"Runtimes": {"runc": {}, "nvidia": {}}, "DockerRootDir": "/", **(info or {})}
        self._version = {
            "Version": "24.0.7",
            "ApiVersion": "1.43",
            "Os": "linux",
            "Arch": "amd64",
            **(version or {}),
        }
        self._running = running
        self.images = SimpleNamespace(get=self._image)
        self.api = SimpleNamespace(build=self._build, pull=self._pull)
        self.containers = SimpleNamespace(create=self._create, run=self._run, list=self._list)

    def version(self) -> dict[str, Any]:
        return self._version

    def info(self) -> dict[str, Any]:
        return self._info

    def _image(self, name: str) -> Any:
        if name not in self.there:
            raise ImageNotFound(f"no such image: {name}")
        return SimpleNamespace(labels=self.there[name], attrs={"Size": 17_000_000_000})

    def _build(self, **options: Any) -> Iterator[dict[str, Any]]:
        self.built.append(options)
        events = self._build_events
        if events is None:
            label = options["buildargs"]["FACEKIT_SOURCES"]
            self.there[options["tag"]] = {"facekit.sources": label}
            events = [{"stream": "Step 1/2 : FROM base\n"}, {"stream": " ---> 0123\n"}]
        yield from events

    def _pull(self, name: str, tag: str, **options: Any) -> Iterator[dict[str, Any]]:
        self.pulled.append(f"{name}:{tag}")
        self.there[f"{name}:{tag}"] = {}
        yield from self._pull_events

    def _create(self, **options: Any) -> FakeContainer:
        self.created.append(options)
        self.container.options = options
        return self.container

    def _run(self, image: str, command: list[str], **options: Any) -> bytes:
        self.probed.append(options)
        if self._probe_error is not None:
            raise self._probe_error
        return (json.dumps(self._machine) + "\n").encode()

    def _list(self, filters: dict[str, str]) -> list[Any]:
        if filters["label"] == "facekit.role=converter":
            return [SimpleNamespace(name=name) for name in self._running]
        return []
