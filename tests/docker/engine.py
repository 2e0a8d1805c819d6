"""What the tests ask of the Docker engine and of Compose, in words of the tests."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

ROOT = Path(__file__).parents[2]
T = TypeVar("T")

# Compose reads a file, if not the .env of whoever runs the tests; this one sets nothing.
NO_SETTINGS = Path(__file__).with_name("empty.env")

# Not one of NGC: what must be found nowhere.
KEY = "nvapi-key-that-must-stay-secret"


def run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 1800
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's folder, with its output as text.

    Settings of the kit in the environment of whoever runs the tests do not count.
    """
    kept = {key: os.environ[key] for key in os.environ if not key.startswith(("FACEKIT_", "NGC_"))}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, "DOCKER_BUILDKIT": "0", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def output_of(command: Sequence[str], **options: Any) -> str:
    """Return what a command prints; fail with all of it if it fails."""
    done = run(command, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def docker(*arguments: str, **options: Any) -> str:
    """Run ``docker`` and return what it prints."""
    return output_of(["docker", *arguments], **options)


def inspect(name: str) -> dict[str, Any]:
    """Return all that the engine knows of a container or an image."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", name))
    return found[0]


def logs(container: str) -> str:
    """Return both streams of a container's log."""
    done = run(["docker", "logs", container])
    return done.stdout + done.stderr


def health(container: str) -> str:
    """Return ``starting``, ``healthy`` or ``unhealthy``."""
    return str(inspect(container)["State"]["Health"]["Status"])


def moment(text: str) -> datetime:
    """Return a time of the engine's, which counts in nanoseconds."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


def holds(image: str, text: str) -> bool:
    """Whether any layer of an image, or what describes it, holds a text."""
    command = f"set -o pipefail; docker save {image} | LC_ALL=C grep --text --fixed-strings --count"
    done = run(["bash", "-c", f"{command} -- {text}"])
    assert done.returncode in (0, 1), done.stderr
    return int(done.stdout) > 0


def processes(container: str) -> list[tuple[int, str, str]]:
    """Return process id on this machine, state and command of a container's processes."""
    lines = docker("top", container, "-eo", "pid,stat,args").splitlines()[1:]
    parts = [line.split(maxsplit=2) for line in lines]
    return [(int(pid), state, command) for pid, state, command in parts]


def build(image: str, dockerfile: Path, context: Path, *options: str) -> str:
    """Build an image and return its name."""
    docker("build", "--quiet", "--tag", image, "--file", str(dockerfile), *options, str(context))
    return image


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 120.0) -> T:
    """Return the first true value of ``condition``; fail with ``what`` if none comes."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


def compose_command() -> list[str]:
    """Return how Compose is called here: 1.29, or the plugin of v2."""
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


class Compose:
    """The kit's docker-compose.yml as a project of its own.

    Args:
        env: variables as ``.env`` would set them; ports are free ones.
        overrides: more compose files.
        gpu: whether the services reserve one, which an engine without one refuses to start.
    """

    def __init__(
        self, env: Mapping[str, str], overrides: Sequence[Path] = (), *, gpu: bool = True
    ) -> None:
        self.project = f"facekit-test-{secrets.token_hex(4)}"
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        ports = {
            "FACEKIT_HTTP_PORT": str(self.http_port),
            "FACEKIT_GRPC_PORT": str(self.grpc_port),
            "FACEKIT_METRICS_PORT": str(self.metrics_port),
        }
        self.env = {**ports, **env}
        main = ROOT / "docker-compose.yml"
        self._folder = None if gpu else Path(tempfile.mkdtemp(prefix="facekit-compose-"))
        if self._folder is not None:
            main = without_gpu(self._folder)
        chosen = [part for file in (main, *overrides) for part in ("--file", str(file))]
        self._command = [*compose_command(), "--env-file", str(NO_SETTINGS), *chosen]
        self._command += ["--project-directory", str(ROOT), "--project-name", self.project]

    @property
    def grpc_url(self) -> str:
        """Where the server's gRPC is published."""
        return f"127.0.0.1:{self.grpc_port}"

    def run(self, *arguments: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run a Compose command, whatever its exit code."""
        return run([*self._command, *arguments], env=self.env, timeout_s=timeout_s)

    def __call__(self, *arguments: str, timeout_s: float = 1800) -> str:
        """Run a Compose command that must work, and return what it prints."""
        return output_of([*self._command, *arguments], env=self.env, timeout_s=timeout_s)

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={self.project}"
        found = docker(
            "ps", "--all", "--quiet", "--no-trunc", "--filter", project, "--filter", label
        )
        assert found, f"no container of {service}"
        return found.split()[0]

    def wait_healthy(self, service: str, timeout_s: float = 120.0) -> str:
        """Wait for a service to be healthy; return its container's id."""
        container = self.container(service)
        deadline = time.monotonic() + timeout_s
        while health(container) != "healthy":
            state = inspect(container)
            failing = state["RestartCount"] > 3 or time.monotonic() > deadline
            assert not failing, f"{service} is not healthy:\n{logs(container)}"
            time.sleep(0.2)
        return container

    def down(self) -> None:
        """Remove the project's containers, networks and volumes."""
        names = ("cpu", "notebook", "store")
        profiles = [word for name in names for word in ("--profile", name)]
        self(*profiles, "down", "--volumes", "--remove-orphans", "--timeout", "20")
        if self._folder is not None:
            shutil.rmtree(self._folder)


def without_gpu(folder: Path) -> Path:
    """Write docker-compose.yml without its reservations: no other file can take them back."""
    content = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    for service in content["services"].values():
        service.pop("deploy", None)
    path = folder / "docker-compose.yml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


@contextmanager
def project(
    env: Mapping[str, str], overrides: Sequence[Path] = (), *, gpu: bool = True
) -> Iterator[Compose]:
    """A project that is taken down at the end."""
    compose = Compose(env, overrides, gpu=gpu)
    try:
        yield compose
    finally:
        compose.down()


def copy_repository(target: Path, owner: int = 0) -> Path:
    """Copy the model repository as a clone has it, for everyone to read.

    Args:
        target: a new folder.
        owner: user and group id of everything in it.
    """
    made = ("*.plan", "plan.json", "*.gpu.dali", "*.part", ".converter.lock", "__pycache__")
    shutil.copytree(ROOT / "model_repository", target, ignore=shutil.ignore_patterns(*made))
    for path in (target, *target.rglob("*")):
        os.chown(path, owner, owner)
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target
