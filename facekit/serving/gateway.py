"""The process that publishes a server's HTTP, metrics and, with tokens, gRPC."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from facekit.errors import SetupError
from facekit.serving import processes
from facekit.serving.limits import ProcessLimits
from facekit.serving.runtime import PACKAGE, joined

# As its own for requests under way, and a little.
_STOP_S = 12
_POLL_S = 0.02
_STANDARD_ERROR = 2
# Defaults of the gateway's options; whoever starts it gives the options themselves.
_DEFAULTS = ("FACEKIT_TLS_CERT", "FACEKIT_TLS_KEY", "FACEKIT_TOKENS")


class GatewayProcess:
    """One process of ``facekit gateway``, which can be started again.

    Args:
        arguments: Its options.
        secrets: More of its environment, which other users can't read, unlike its options.
        limits: The operating system's limits of its process.
    """

    def __init__(
        self, arguments: list[str], secrets: dict[str, str], limits: ProcessLimits
    ) -> None:
        self._arguments = arguments
        self._secrets = secrets
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it, unless it runs; raises SetupError if that can't be done."""
        if self.pid is not None:
            return
        environment = {name: os.environ[name] for name in os.environ.keys() - _DEFAULTS}
        environment |= self._secrets
        environment["PYTHONPATH"] = joined([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "facekit.cli", "gateway", *self._arguments]
        self._process = processes.spawn(command, environment, _STANDARD_ERROR, self._limits)

    def listens(self, address: tuple[str, int]) -> bool:
        """Return whether it takes connections; raises SetupError if it has ended."""
        process = self._process
        if process is not None and process.poll() is not None:
            reason = processes.exit_reason(process.returncode)
            raise SetupError(f"The HTTP gateway {reason} at its start; its last lines say why.")
        with suppress(OSError), socket.create_connection(address, timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End it after the requests under way."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_S
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        self.abort()
        if self._process is not None:
            self._process.wait()

    def abort(self) -> None:
        """Kill it and return, as a signal handler may."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
