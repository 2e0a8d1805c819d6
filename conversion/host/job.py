"""Runs the converter in a container, hardened as in ``docker-compose.yml``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import requests
from docker.errors import DockerException, NotFound
from docker.types import Mount

from conversion.host.findings import Finding, HostError, State
from conversion.host.gpu import explain_start, gpu_request
from conversion.host.settings import Settings

KEY_FILE = "/run/secrets/ngc_api_key"
ROLE = {"facekit.role": "converter"}
# Tools get this long to end when the run is interrupted; as `docker stop` gives.
_GRACE_S = 10
_KILLED, _TERMINATED = 128 + signal.SIGKILL, 128 + signal.SIGTERM


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
        arguments: of ``python -m conversion`` in the container.
        folders: more folders of this machine that it may read, by their place in the container.
        gpu: whether it gets the GPU.
    """

    arguments: Sequence[str]
    folders: Mapping[str, Path]
    gpu: bool


def container_options(
    settings: Settings, job: Job, key_file: Path | None, *, terminal: bool
) -> dict[str, Any]:
    """Return what the SDK's ``containers.create`` takes; no secret is among it."""
    # A list by place: one folder of this machine may have several places.
    mounts = [
        Mount("/models", str(settings.repository), type="bind"),
        Mount("/weights", str(settings.weights_dir), type="bind"),
        *(
            Mount(place, str(path), type="bind", read_only=True)
            for place, path in job.folders.items()
        ),
    ]
    environment = dict(settings.environment)
    if key_file is not None:
        mounts.append(Mount(KEY_FILE, str(key_file), type="bind", read_only=True))
        environment["NGC_API_KEY_FILE"] = KEY_FILE
    if terminal:
        environment["TERM"] = os.environ.get("TERM", "xterm")
    return {
        "image": settings.image,
        "command": list(job.arguments),
        "user": settings.user,
        "mounts": mounts,
        "environment": environment,
        "labels": ROLE,
        "device_requests": gpu_request(settings.gpu) if job.gpu else [],
        # As docker-compose.yml has it.
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": {"/tmp": "exec,nosuid,nodev,size=2g,mode=1777"},
        "shm_size": "512m",
        "mem_limit": settings.memory,
        "pids_limit": 8192,
        # Reaps what a killed tool leaves, and hands signals on.
        "init": True,
        "tty": terminal,
        "stdin_open": False,
        "detach": True,
    }


@contextlib.contextmanager
def secret_file(secret: str | None) -> Iterator[Path | None]:
    """Write a secret where only this user finds it, for as long as the block runs.

    The file itself can be read by all: the container's user is another one. Its folder can't be
    entered by anybody else, and a container that has the file mounted needs not enter it.
    """
    if secret is None:
        yield None
        return
    # In memory, where there is such a place.
    home = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(tempfile.mkdtemp(prefix="facekit-", dir=home if _usable(home) else None))
    try:
        path = folder / "ngc_api_key"
        path.write_text(secret, "utf-8")
        path.chmod(0o444)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _usable(folder: str | None) -> bool:
    return bool(folder) and os.access(str(folder), os.W_OK | os.X_OK)


def run_job(
    client: Any,
    settings: Settings,
    job: Job,
    *,
    out: BinaryIO | None = None,
    err: BinaryIO | None = None,
) -> int:
    """Run the container to its end, and return its exit code; 130 if it was interrupted.

    Args:
        client: of the engine.
        settings: what the run uses.
        job: what to run.
        out: takes what the job writes to standard output.
        err: takes what it writes to standard error.

    Raises:
        HostError: the container could not be started, or did not end by itself.
    """
    out, err = out or sys.stdout.buffer, err or sys.stderr.buffer
    names = {place.encode(): os.fsencode(path) for place, path in job.folders.items()}
    # Both must be one: a container with a terminal has one stream of output.
    terminal = out.isatty() and err.isatty()
    # The engine would make a missing folder as root's own.
    settings.weights_dir.mkdir(parents=True, exist_ok=True)
    # The signals outermost: whichever ends this, the key does not stay on the disk.
    with _interruptible(), secret_file(settings.key) as key_file:
        options = container_options(settings, job, key_file, terminal=terminal)
        try:
            container = client.containers.create(**options)
        except (DockerException, requests.RequestException) as error:
            raise HostError(explain_start(error, settings)) from error
        try:
            return _follow(container, settings, out, err, names, terminal=terminal)
        except KeyboardInterrupt:
            # A terminal that was closed takes no more lines.
            with contextlib.suppress(OSError):
                err.write(b"\nstopping the converter; what is half done is never used\n")
                err.flush()
            with contextlib.suppress(DockerException, requests.RequestException):
                container.stop(timeout=_GRACE_S)
            return 130
        finally:
            with contextlib.suppress(DockerException, requests.RequestException):
                container.remove(force=True)


def _follow(
    container: Any,
    settings: Settings,
    out: BinaryIO,
    err: BinaryIO,
    names: Mapping[bytes, bytes],
    *,
    terminal: bool,
) -> int:
    try:
        # Before it starts, so that no line is lost.
        stream = container.attach(
            stdout=True, stderr=True, stream=True, logs=True, demux=not terminal
        )
        container.start()
        if terminal:
            size = shutil.get_terminal_size()
            with contextlib.suppress(DockerException):
                container.resize(height=size.lines, width=size.columns)
        for piece in stream:
            _hand_on(piece, out, err, names)
        answer = container.wait()
        container.reload()
    except NotFound as error:
        raise HostError(
            Finding("container", State.FAILED, "it was removed while it ran", ("scripts/convert",))
        ) from error
    except (DockerException, requests.RequestException) as error:
        raise HostError(explain_start(error, settings)) from error
    return _exit_code(int(answer["StatusCode"]), container, settings)


def _hand_on(piece: Any, out: BinaryIO, err: BinaryIO, names: Mapping[bytes, bytes]) -> None:
    """Write a piece of output; what the user named is called by the user's name for it."""
    parts = piece if isinstance(piece, tuple) else (piece, None)
    for data, target in zip(parts, (out, err), strict=True):
        if data:
            for place, name in names.items():
                data = re.sub(re.escape(place) + rb"\b", name.replace(b"\\", b"\\\\"), data)
            target.write(data)
            target.flush()


def _exit_code(code: int, container: Any, settings: Settings) -> int:
    # The flag is set too when one tool was ended so, and the converter itself went on.
    if code == _KILLED and container.attrs.get("State", {}).get("OOMKilled"):
        raise HostError(
            Finding(
                "container",
                State.FAILED,
                f"it used up its memory ({settings.memory}) and was ended",
                ("set FACEKIT_CONVERTER_MEMORY in .env to more, such as 32g",),
            )
        )
    if code in (_KILLED, _TERMINATED):
        raise HostError(
            Finding(
                "container",
                State.FAILED,
                "it was killed; the repository is as it was, or holds whole engines only",
                ("scripts/convert   # goes on where it stopped",),
            )
        )
    return code


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make a SIGTERM, and the end of the terminal, end the block as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # Once: another one must not cut short what puts things in order.
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What is ignored stays so: that is what nohup is for.
    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
