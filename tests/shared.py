"""Servers that tests share: the test during which one ends fails, later ones get another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from facekit.serving import processes
from facekit.serving.server import TritonServer

_Server = TypeVar("_Server", bound=TritonServer)
_running: list[TritonServer] = []


@contextmanager
def shared(server: _Server) -> Iterator[_Server]:
    """Run ``server`` meanwhile; nobody else may end it."""
    with server:
        _running.append(server)
        try:
            yield server
        finally:
            _running.remove(server)


def triton_of(pid: int) -> processes.Process:
    """Return the running ``tritonserver`` that a process has started."""
    alive = [child for child in processes.children(pid) if child.alive]
    return {Path(processes.arguments(each.pid)[0]).name: each for each in alive}["tritonserver"]


def restart_ended() -> str:
    """Start shared servers that have ended again, at the same ports; say which and how they ended.

    Returns:
        A paragraph a server with the last lines of its log; "" where all run.
    """
    said = []
    for server in _running:
        if reason := server.exit_reason():
            tail = "\n  ".join(server.log_tail(20))
            said.append(f"The shared server of {server.model_repository}: {reason}:\n  {tail}")
            server.start()
            server.wait_ready()
    return "\n".join(said)
