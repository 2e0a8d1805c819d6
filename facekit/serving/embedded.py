"""A Triton server as a child process, for a machine with no GPU and no container engine.

::

    with EmbeddedServer() as server:
        Client(server.grpc_url).detect("photo.jpg")
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from facekit.errors import SetupError
from facekit.serving import log, ports, processes
from facekit.serving.child import kill_group, spawn
from facekit.serving.installation import (
    check_backend_package,
    check_shared_memory,
    find_installation,
)
from facekit.serving.runtime import PACKAGE, Runtime

_BACKEND = re.compile(r'^\s*backend\s*:\s*"(\w+)"', re.MULTILINE)
_OPTIONS = ("--http-port", "--grpc-port", "--metrics-port")
# Seconds that requests under way get at a stop.
_EXIT_TIMEOUT_S = 10
_POLL_S = 0.02


def default_model_repository() -> Path:
    """Return ``FACEKIT_MODEL_REPOSITORY``, or the ``model_repository`` beside the package."""
    return Path(os.environ.get("FACEKIT_MODEL_REPOSITORY") or PACKAGE.parent / "model_repository")


class EmbeddedServer:
    """One Triton server process: ``start``, ``wait_ready``, ``stop``; also a context manager.

    A stopped server can be started again and keeps its ports. The process ends with this one,
    whatever happens to it.

    Args:
        model_repository: the folder of models; by default the kit's own.
        http_port: 0 for any free one, as for the other two.
        grpc_port: see ``http_port``.
        metrics_port: see ``http_port``.
        address: the IPv4 address, or a name for it, to listen on.
        config_name: the set of ``configs/<name>.pbtxt`` that goes before ``config.pbtxt``.
        log_file: gets the server's log, appended; by default a temporary file.
        extra_args: more options for the ``tritonserver`` program.
    """

    def __init__(
        self,
        model_repository: str | os.PathLike[str] | None = None,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        address: str = "127.0.0.1",
        config_name: str = "cpu",
        log_file: str | os.PathLike[str] | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self.model_repository = Path(model_repository or default_model_repository()).absolute()
        self.address = address
        self._listen = address
        self._config_name = config_name
        self._wanted = dict(zip(_OPTIONS, (http_port, grpc_port, metrics_port), strict=True))
        self._ports: dict[str, int] = {}
        self._log_file = Path(log_file).absolute() if log_file is not None else None
        self._extra_args = tuple(extra_args)
        self._runtime: Runtime | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._last_log: list[str] = []

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP endpoint."""
        return self._url("--http-port")

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint."""
        return self._url("--grpc-port")

    @property
    def metrics_url(self) -> str:
        """URL of the metrics page."""
        return f"http://{self._url('--metrics-port')}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def log_tail(self, lines: int = 50) -> list[str]:
        """Return the last lines of the server's log."""
        path = self._log_path()
        return log.tail(path, lines) if path is not None else self._last_log[-lines:]

    def start(self) -> None:
        """Start the process; ``wait_ready`` tells when it answers.

        Raises:
            SetupError: something that the server needs is missing; the message says what.
        """
        if self.pid is not None:
            raise SetupError(f"The server runs already (process {self.pid}).")
        self._release()
        installation = find_installation()
        self._check_repository()
        check_shared_memory()
        self._listen = ports.resolve(self.address)
        self._ports = ports.choose_ports(self._listen, self._ports or self._wanted)
        try:
            self._runtime = Runtime(installation)
        except OSError as error:
            raise SetupError(f"Cannot write the server's temporary folder: {error}.") from error
        path = self._log_path()
        assert path is not None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("ab")
        except OSError as error:
            self._release()
            raise SetupError(f"Cannot write the log {path}: {error.strerror}.") from error
        command = [str(installation.binary), *self._arguments(self._runtime), *self._extra_args]
        with handle:
            self._process = spawn(command, self._runtime.environment(), handle.fileno())

    def wait_ready(
        self, timeout_s: float = 120.0, cancelled: Callable[[], bool] | None = None
    ) -> None:
        """Wait until every model is loaded, or until ``cancelled`` says to give up.

        Raises:
            SetupError: the server ended instead, or is not ready in time; the message names the
                model and the reason. The server is stopped.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            process = self._process
            if process is None:
                raise SetupError("The server is not started.")
            if process.poll() is not None:
                self._fail(f"The server ended with exit code {process.returncode} at its start")
            if time.monotonic() > deadline:
                self._fail(f"The server was not ready after {timeout_s:g} s")
            if cancelled is not None and cancelled():
                return
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = _EXIT_TIMEOUT_S + 5) -> None:
        """Stop the server and its backend processes; requests under way end first."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            backends = processes.children(process.pid)
            while process.poll() is None and time.monotonic() < deadline:
                # Each ends with its last request; the server itself then takes another second.
                if backends and not any(map(processes.still_runs, backends)):
                    break
                time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End the server and its backend processes at once."""
        self.abort()
        if self._process is not None:
            self._process.wait()
        self._release()

    def abort(self) -> None:
        """Send the processes their end and return, as a signal handler may."""
        if self._process is not None:
            kill_group(self._process.pid)

    def __enter__(self) -> EmbeddedServer:
        """Start and wait until ready."""
        running = self.pid is not None
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            if not running:
                self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server at once: whoever leaves the block has got all answers."""
        self.kill()

    def _url(self, option: str) -> str:
        if option not in self._ports:
            raise SetupError("The server is not started: its ports are not chosen yet.")
        # A server that listens everywhere is reached on this machine.
        host = "127.0.0.1" if self._listen == "0.0.0.0" else self._listen
        return f"{host}:{self._ports[option]}"

    def _log_path(self) -> Path | None:
        if self._log_file is not None:
            return self._log_file
        return self._runtime.default_log if self._runtime is not None else None

    def _check_repository(self) -> None:
        if not self.model_repository.is_dir():
            raise SetupError(
                f"The model repository {self.model_repository} does not exist: give "
                f"--model-repository or set FACEKIT_MODEL_REPOSITORY."
            )
        backends = set()
        for model in self.model_repository.iterdir():
            for name in (f"configs/{self._config_name}.pbtxt", "config.pbtxt"):
                if (model / name).is_file():
                    backends.update(_BACKEND.findall((model / name).read_text("utf-8")))
                    break
        for backend in sorted(backends & {"dali", "onnxruntime"}):
            check_backend_package(backend)

    def _arguments(self, runtime: Runtime) -> list[str]:
        arguments = [
            f"--model-repository={self.model_repository}",
            f"--backend-directory={runtime.backends}",
            f"--model-config-name={self._config_name}",
            f"--http-address={self._listen}",
            f"--grpc-address={self._listen}",
            f"--metrics-address={self._listen}",
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            "--allow-gpu-metrics=false",
            # The configurations are complete; to complete them the server would start every
            # backend process twice.
            "--disable-auto-complete-config",
            "--backend-config=python,stub-timeout-seconds=120",
            f"--backend-config=python,shm-region-prefix-name={runtime.shm_prefix}",
        ]
        return arguments + [f"{option}={port}" for option, port in self._ports.items()]

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.http_url, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _fail(self, what: str) -> None:
        reasons = "\n  ".join(log.reasons(self.log_tail(2000)))
        self.kill()
        where = f"\nThe whole log: {self._log_file}" if self._log_file is not None else ""
        raise SetupError(f"{what}:\n  {reasons}{where}")

    def _release(self) -> None:
        if self._runtime is not None:
            self._last_log = self.log_tail(2000)
            self._runtime.remove()
        self._runtime = None
        self._process = None
