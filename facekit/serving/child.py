"""A child process that ends with this one, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from facekit.errors import SetupError
from facekit.serving.limits import ProcessLimits

_LAUNCHER = Path(__file__).with_name("launcher.py")


def spawn(
    command: list[str], environment: dict[str, str], output: int, limits: ProcessLimits
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, so that Ctrl-C reaches only this process.

    The kernel ends a child with the *thread* that started it, so one thread stays with it.
    """
    started: list[subprocess.Popen[bytes] | OSError] = []
    ready = threading.Event()

    def keep() -> None:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        launcher += [*limits.arguments(), "--"]
        try:
            process = subprocess.Popen(
                [*launcher, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            started.append(error)
            ready.set()
            return
        started.append(process)
        ready.set()
        process.wait()

    threading.Thread(target=keep, name="facekit-server", daemon=True).start()
    ready.wait()
    result = started[0]
    if isinstance(result, OSError):
        raise SetupError(f"Cannot start {command[0]}: {result.strerror}.") from result
    return result


def kill_group(leader: int) -> None:
    """End what is left of the server's process group: it, and its backend processes."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
