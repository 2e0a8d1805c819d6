"""Run one of NVIDIA's tools: its output line by line, a sign of life, and an end in any case."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import facekit
from conversion.atomic import Say
from conversion.errors import BuildError

# Becomes the tool after asking the kernel to end it with this process. A file and not an import,
# because that package loads the whole server.
_LAUNCHER = Path(facekit.__file__).parent / "serving" / "launcher.py"

LIMIT_S = 3600.0
"""The longest build: minutes on a server's GPU, half an hour on the smallest Jetson."""
HEARTBEAT_S = 10.0
_TAIL_LINES = 12
_POLL_S = 0.2
_LONGEST_LINE = 64 * 1024
# A tool has no business with these: it never downloads anything.
_SECRET_VARIABLES = ("NGC_API_KEY", "NGC_API_KEY_FILE", "NGC_CLI_API_KEY")


@dataclass(frozen=True)
class ToolRun:
    """How a tool ended.

    Attributes:
        code: its exit code; a signal's number below zero.
        tail: its last lines.
        elapsed_s: how long it ran.
        timed_out: whether it was ended because it ran too long.
    """

    code: int
    tail: tuple[str, ...]
    elapsed_s: float
    timed_out: bool

    @property
    def ending(self) -> str:
        """Say how it ended, as part of a sentence."""
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
    heartbeat_s: float = HEARTBEAT_S,
) -> ToolRun:
    """Run a tool to its end, or to ``limit_s``.

    The tool dies with this process, whatever ends it. An exception, as of Ctrl-C, ends the tool and
    what it has started, then goes on.

    Args:
        argv: the tool's path and its arguments.
        task: what is going on, for the sign of life, such as ``building facenet INT8``.
        say: takes every line of the tool and every sign of life.
        secret: is replaced by ``***`` wherever the tool prints it.
        limit_s: after so many seconds the tool hangs.
        heartbeat_s: how long it may be silent before a sign of life is given.

    Raises:
        BuildError: it could not be started.
    """
    environment = {name: text for name, text in os.environ.items() if name not in _SECRET_VARIABLES}
    reader, writer = os.pipe()
    start = time.monotonic()
    try:
        try:
            process = _start(list(argv), environment, writer)
        finally:
            os.close(writer)
        output = _Output(task, say, secret, start, heartbeat_s)
        try:
            timed_out = _follow(process, reader, output, start + limit_s)
        finally:
            _kill_group(process.pid)
            process.wait()
    finally:
        os.close(reader)
    elapsed_s = time.monotonic() - start
    return ToolRun(process.returncode, tuple(output.tail), elapsed_s, timed_out)


def clock(seconds: float) -> str:
    """Return a time span as minutes and seconds.

    >>> clock(130)
    '2:10'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class _Output:
    def __init__(
        self, task: str, say: Say, secret: str | None, start: float, heartbeat_s: float
    ) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._task, self._say, self._secret = task, say, secret
        self._start, self._heartbeat_s = start, heartbeat_s
        self._spoke = start
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(line)

    def close(self) -> None:
        self._line(self._rest)
        self._rest = b""

    def idle(self) -> None:
        """Give a sign of life if nothing was said for long."""
        now = time.monotonic()
        if now - self._spoke >= self._heartbeat_s:
            self._spoke = now
            self._say(f"{self._task}: takes minutes, {clock(now - self._start)} so far")

    def _line(self, data: bytes) -> None:
        text = data.decode("utf-8", "replace").rstrip()
        if self._secret:
            text = text.replace(self._secret, "***")
        if text:
            self.tail.append(text)
            self._spoke = time.monotonic()
            self._say(f"  | {text}")


def _start(argv: list[str], environment: dict[str, str], output: int) -> subprocess.Popen[bytes]:
    if not os.access(argv[0], os.X_OK):
        raise BuildError(
            f"{argv[0]} can't be executed: it is missing, has no execute bit, or lies on a file "
            "system mounted noexec"
        )
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), "--", *argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]} can't be started: {error.strerror}") from error


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _follow(
    process: subprocess.Popen[bytes], reader: int, output: _Output, deadline: float
) -> bool:
    """Hand on what the tool prints until it ends; tell whether ``deadline`` came first."""
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if ended:
                # A process that the tool left behind would keep the pipe open.
                _kill_group(process.pid)
            if selector.select(0 if ended else _POLL_S):
                data = os.read(reader, 64 * 1024)
                if data:
                    output.feed(data)
                    ended = False  # there may be more
                else:
                    # The pipe is closed; the tool itself may still run.
                    selector.unregister(reader)
                    ended = _ends(process, output, deadline)
            if ended:
                output.close()
                return False
            if time.monotonic() >= deadline:
                output.close()
                return True
            output.idle()


def _ends(process: subprocess.Popen[bytes], output: _Output, deadline: float) -> bool:
    while time.monotonic() < deadline:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            output.idle()
        else:
            return True
    return False
