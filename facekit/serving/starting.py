"""Follows a server's start: whether it is ready, and whether a backend process has ended.

Triton itself waits for such a process for minutes, and logs nothing.
"""

import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.connection import Connection
from facekit.serving import processes

_LOOK_S = 0.1
# Triton takes away at once a process that it ended itself, as after a model's error: the reason
# comes from the server then.
_GRACE_S = 0.4
_INSTANCE = re.compile(r"TRITONBACKEND_ModelInstanceInitialize: (\w+) ")


def answers_ready(connection: Connection) -> bool:
    """Return whether the server reports that every model is loaded."""
    host, _, port = connection.url.rpartition(":")
    try:
        # A channel that is refused waits longer and longer before it tries again.
        socket.create_connection((host.strip("[]"), int(port)), connection.timeout_s).close()
        with connection.opened(InferenceServerClient) as triton:
            return bool(triton.is_server_ready(client_timeout=connection.timeout_s))
    except (OSError, InferenceServerException):
        return False


class BackendWatch:
    """Watches the backend processes of a server that starts."""

    def __init__(self, server_pid: int) -> None:
        self._server = server_pid
        self._names: dict[int, str] = {}
        self._ended: dict[int, float] = {}
        self._next = 0.0
        self._dead = 0

    def ended(self) -> str:
        """Return how a process ended that Triton still waits for; "" while there is none.

        Looks at most every 0.1 s.
        """
        now = time.monotonic()
        if now < self._next:
            return ""
        self._next = now + _LOOK_S
        found = processes.children(self._server)
        for child in found:
            if instance := processes.model_instance(child.pid):
                self._names[child.pid] = instance
        dead = [child.pid for child in found if not child.alive]
        self._ended = {pid: self._ended.get(pid, now) for pid in dead}
        for pid, since in self._ended.items():
            if now - since >= _GRACE_S:
                self._dead = pid
                return exit_reason(pid)
        return ""

    def instance(self, log_lines: Iterable[str]) -> str:
        """Return the model instance of the process that has ended, from the log if need be.

        One that ended before it was seen is among those that the log names and no process serves.
        """
        if self._dead in self._names:
            return self._names[self._dead]
        started = dict.fromkeys(match[1] for line in log_lines if (match := _INSTANCE.search(line)))
        return " or ".join(name for name in started if name not in self._names.values())


def exit_reason(pid: int) -> str:
    """Return how a dead process ended, which its user may read in the last field of its state."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        code = os.waitstatus_to_exitcode(int(text.split()[-1]))
    except (OSError, ValueError):  # its parent has taken it away
        return "ended"
    return processes.exit_reason(code)
