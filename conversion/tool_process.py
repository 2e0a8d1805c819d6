"""Run one of NVIDIA's tools to its end, with periodic status lines, and explain its failures."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

import facekit
from conversion.errors import BuildError
from conversion.paths import Say

# Becomes the tool after asking the kernel to end it with this process. A file and not an import,
# because that package loads the whole server.
_LAUNCHER = Path(facekit.__file__).parent / "serving" / "launcher.py"

_FAILURES = Path(__file__).with_name("failures.yaml")

LIMIT_S = 3600.0
"""The longest build: minutes on a server's GPU, half an hour on the smallest Jetson."""
STATUS_S = 10.0
_TAIL_LINES = 12
_POLL_S = 0.2
_CHUNK_BYTES = 64 * 1024
# A tool does not need these: it never downloads anything.
_SECRET_VARIABLES = ("NGC_API_KEY", "NGC_API_KEY_FILE", "NGC_CLI_API_KEY")


@dataclass(frozen=True)
class ToolRun:
    """How a tool ended: its exit code (a signal's number below zero), and its last lines."""

    code: int
    tail: tuple[str, ...]
    elapsed_s: float
    timed_out: bool

    @property
    def ending(self) -> str:
        """How it ended, as part of a sentence."""
        if self.timed_out:
            return f"was ended after {clock(self.elapsed_s)}"
        if self.code < 0:
            try:
                return f"was killed by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"was killed by signal {-self.code}"
        return f"ended with exit code {self.code}"


def run_tool(
    argv: Sequence[str],
    *,
    task: str,
    say: Say,
    secret: str | None = None,
    limit_s: float = LIMIT_S,
    status_s: float = STATUS_S,
) -> ToolRun:
    """Run a tool to its end, or for ``limit_s``.

    The tool dies with this process, whatever ends it. An exception, as of Ctrl-C, ends the tool and
    the processes that it has started.

    Args:
        argv: the tool's path and its arguments.
        task: what is being done, for the status lines, such as ``building facenet INT8``.
        say: takes every line of the tool, and a status line after ``status_s`` of silence.
        secret: is replaced by ``***`` wherever the tool prints it.
        limit_s: a tool that runs longer is taken to hang, and is ended.
        status_s: seconds.

    Raises:
        BuildError: it could not be started.
    """
    start = spoke = time.monotonic()
    process = _start(list(argv))
    assert process.stdout is not None
    output = _Output(say, secret)
    chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process.stdout, chunks), daemon=True).start()
    timed_out = ended = closed = False
    try:
        while not (ended and closed):
            now = time.monotonic()
            if not ended and (process.poll() is not None or now - start >= limit_s):
                timed_out, ended = process.poll() is None, True
                # A process that the tool left behind would keep the pipe open.
                _kill_group(process.pid)
            try:
                if closed:
                    process.wait(_POLL_S)
                elif chunk := chunks.get(timeout=_POLL_S):
                    output.feed(chunk)
                    spoke = now
                else:
                    closed = True
            except (queue.Empty, subprocess.TimeoutExpired):
                closed = closed or ended
                if now - spoke >= status_s:
                    spoke = now
                    say(f"{task}: takes minutes, {clock(now - start)} so far")
    finally:
        _kill_group(process.pid)
        process.wait()
    output.feed(b"\n")
    elapsed_s = time.monotonic() - start
    return ToolRun(process.returncode, tuple(output.tail), elapsed_s, timed_out)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as ``2:10``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class _Output:
    """A tool's lines, as they come; the last ones are kept."""

    def __init__(self, say: Say, secret: str | None) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._say, self._secret = say, secret
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > _CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            if self._secret:
                text = text.replace(self._secret, "***")
            if text:
                self.tail.append(text)
                self._say(f"  | {text}")


def _read(pipe: IO[bytes], chunks: queue.SimpleQueue[bytes]) -> None:
    with pipe:
        while chunk := os.read(pipe.fileno(), _CHUNK_BYTES):
            chunks.put(chunk)
    chunks.put(b"")


def _start(argv: list[str]) -> subprocess.Popen[bytes]:
    if not os.access(argv[0], os.X_OK):
        raise BuildError(
            f"{argv[0]} cannot be executed: it is missing, has no execute bit, or is on a file "
            "system mounted noexec"
        )
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), "--", *argv],
            env={name: os.environ[name] for name in os.environ if name not in _SECRET_VARIABLES},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def explain(run: ToolRun, problem: str, tool: str, model: str) -> str:
    """Return what went wrong, the tool's last lines, the likely cause and what to do.

    ``problem`` is what is wrong with the result, as a clause such as ``it wrote no engine``.
    """
    lines = [f"{model}: {tool} {run.ending}, and {problem}"]
    if run.tail:
        lines += ["its last lines:", *(f"  | {line}" for line in run.tail)]
    known = known_failure("tools", "\n".join(run.tail)) or known_failure("endings", run.ending)
    if known is None:
        lines.append("what to do: read its lines above, then run the converter again")
    else:
        lines += [f"likely: {known[0]}", f"what to do: {known[1]}"]
    return "\n".join(lines)


def known_failure(program: str, text: str) -> tuple[str, str] | None:
    """Return the cause and remedy of a failure that ``failures.yaml`` knows by its output."""
    for failure in yaml.safe_load(_FAILURES.read_text("utf-8"))[program]:
        if re.search(failure["print"], text, re.IGNORECASE):
            return failure["cause"], failure["remedy"]
    return None
