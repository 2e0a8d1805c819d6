"""A Triton server as a child process; the subclasses choose the program."""

import os
import secrets
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from facekit.client.connection import Connection
from facekit.engines.optional import SkippedModels
from facekit.errors import SetupError
from facekit.serving import ports, processes
from facekit.serving.installation import check_shared_memory
from facekit.serving.limits import ProcessLimits, process_limits
from facekit.serving.log import ServerLog, foreign_lines, reasons
from facekit.serving.repository import check_repository, default_model_repository, lay_out
from facekit.serving.runtime import Runtime
from facekit.serving.starting import BackendWatch, answers_ready
from facekit.serving.tls import Tls, TlsState

# Seconds that requests under way get at a stop.
_EXIT_TIMEOUT_S = 10
_POLL_S = 0.02
# What can read or change more of the machine than an inference does. "health", "metadata",
# "inference", "model-config" and "statistics" stay open: callers and probes need them.
_MANAGEMENT = "model-repository,shared-memory,trace,logging"
_Self = TypeVar("_Self", bound="TritonServer")


@dataclass(frozen=True)
class ServerOptions:
    """Options of every kind of server.

    Attributes:
        http_port: 0 for any free one, as for the other two ports.
        address: The IPv4 or IPv6 address to listen on, or a host name.
        log_file: File that the server's log is appended to; ``-`` is standard error; by default a
            temporary file.
        tls: Encrypts gRPC; HTTP stays plain.
        color: What FaceNet is fed, ``gray`` or ``rgb``; by default what the repository's
            configurations say.
        restrict_management: Refuses callers everything but inference: loading models, shared
            memory, trace and log settings.
        extra_args: More options for the ``tritonserver`` program.
    """

    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    address: str = "127.0.0.1"
    log_file: str | os.PathLike[str] | None = None
    tls: Tls | None = None
    color: str | None = None
    restrict_management: bool = False
    extra_args: Sequence[str] = ()


class TritonServer(ABC):
    """One Triton server process: ``start``, ``wait_ready``, ``stop``; also a context manager.

    A stopped server can be started again and keeps its ports. The process ends with this one,
    whatever happens to it.

    Args:
        model_repository: The folder of models; by default the kit's own.
        options: The fields of ``ServerOptions``.
    """

    computes = False
    """Whether models compute in the server's own process, and not only in backend processes."""

    checking: bool
    """Whether ``start`` still checks, and nothing was made that would have to be removed."""

    def __init__(
        self, model_repository: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        self.model_repository = Path(model_repository or default_model_repository()).absolute()
        self.checking = False
        self._options = ServerOptions(**options)
        self._address = self._options.address
        self._ports: dict[str, int] = {}
        self._log = ServerLog(self._options.log_file)
        self._tls_name: str | None = None
        self._trusted: Path | None = None
        self._tls_state: TlsState | None = None
        self._runtime: Runtime | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._skipped: SkippedModels | None = None
        self._limits: ProcessLimits | None = None
        self._shared_memory_note = ""

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP endpoint; an IPv6 address in brackets."""
        return self._url("--http-port")

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint; an IPv6 address in brackets."""
        return self._url("--grpc-port")

    @property
    def metrics_url(self) -> str:
        """URL of the metrics page."""
        return f"http://{self._url('--metrics-port')}/metrics"

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about what is served otherwise than asked for, or where resources are short."""
        skipped = self._skipped.message if self._skipped else ""
        ipv6 = ports.IPV6_ONLY if self._address == "::" else ""
        stack = self._limits.note if self._limits else ""
        return tuple(line for line in (skipped, ipv6, stack, self._shared_memory_note) if line)

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def exit_reason(self) -> str:
        """Return how the process ended that nobody has stopped; "" while it runs."""
        process = self._process
        if process is None or process.poll() is None:
            return ""
        return f"the server {processes.exit_reason(process.returncode)}"

    @property
    def encrypted(self) -> bool:
        """Whether gRPC is encrypted, so that TLS files can be renewed."""
        return self._options.tls is not None

    def connection(self, timeout_s: float) -> Connection:
        """Return how this process reaches the gRPC endpoint.

        Raises ConfigError if the certificate has been removed meanwhile.
        """
        if self._options.tls is None:
            return Connection(self.grpc_url, timeout_s)
        return Connection(
            self.grpc_url,
            timeout_s,
            ssl=True,
            root_certificates=self._trusted or self._options.tls.certificate,
            server_name=self._tls_name,
        )

    def renewed(self) -> bool:
        """Return whether the TLS files are other ones than at the start, and work."""
        tls = self._options.tls
        if tls is None or tls.state() == self._tls_state:
            return False
        try:
            tls.name()
        except SetupError:  # such as one of the two before the other is written
            return False
        return True

    def log_tail(self, lines: int = 50) -> list[str]:
        """Return the last lines of the server's log."""
        return self._log.tail(lines)

    def start(self) -> None:
        """Start the process; ``wait_ready`` waits until it answers.

        A SetupError says what is missing that the server needs.
        """
        if self.pid is not None:
            raise SetupError(f"The server runs already (process {self.pid}).")
        self._release()
        self._check()
        options = self._options
        self._address = ports.resolve(options.address)
        self._ports = ports.choose_ports(
            self._address,
            self._ports
            or {
                "--http-port": options.http_port,
                "--grpc-port": options.grpc_port,
                "--metrics-port": options.metrics_port,
            },
        )
        try:
            self._runtime = self._new_runtime()
            if options.tls is not None:
                # What this server shows: probes know it while only one of the files is renewed.
                self._trusted = self._runtime.folder / "trusted.pem"
                self._trusted.write_bytes(options.tls.certificate.read_bytes())
        except OSError as error:
            raise SetupError(f"Cannot write the server's temporary folder: {error}.") from error
        try:
            self._spawn(self._runtime)
        except BaseException:
            self._release()
            raise

    def _check(self) -> None:
        self.checking = True
        try:
            check_repository(self.model_repository)
            tls = self._options.tls
            if tls is not None:
                # First, so that a change while it is read counts as one.
                self._tls_state = tls.state()
                self._tls_name = tls.name()
            self._shared_memory_note = check_shared_memory()
            self._limits = process_limits()
            self._prepare()
        finally:
            self.checking = False

    def wait_ready(
        self, timeout_s: float = 120.0, cancelled: Callable[[], bool] | None = None
    ) -> None:
        """Wait until every model is loaded, or until ``cancelled`` returns true.

        A SetupError names the model and the reason if the server or one of its backend processes
        ended instead, or it is not ready in time. The server is stopped then.
        """
        process = self._process
        if process is None:
            raise SetupError("The server is not started.")
        deadline = time.monotonic() + timeout_s
        backends = BackendWatch(process.pid)
        while not answers_ready(self.http_url):
            if process.poll() is not None:
                reason = processes.exit_reason(process.returncode)
                self._fail(f"The server {reason} at its start")
            if ended := backends.ended():
                lines = self._log.tail()
                name = backends.instance(lines) or "a model"
                self._fail(
                    f"The backend process of {name} {ended} at the server's start",
                    foreign_lines(lines),
                )
            if time.monotonic() > deadline:
                self._fail(f"The server was not ready after {timeout_s:g} s")
            if cancelled is not None and cancelled():
                return
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the server and its backend processes; requests under way end first."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _EXIT_TIMEOUT_S + 5
            backends = processes.children(process.pid)
            while process.poll() is None and time.monotonic() < deadline:
                # Each ends with its last request; the server itself then takes another second.
                if backends and not any(map(processes.still_runs, backends)):
                    break
                time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End the server and its backend processes at once, and wait until they have ended."""
        backends = [] if self._process is None else processes.children(self._process.pid)
        self.abort()
        if self._process is not None:
            self._process.wait()
        # A killed process takes a moment to go on a busy machine; one that hangs in the kernel
        # must not hang the caller.
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while any(map(processes.still_runs, backends)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._release()

    def abort(self) -> None:
        """Kill the process group of the server and return, as a signal handler may."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self: _Self) -> _Self:
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

    def __exit__(self, *_: object) -> None:
        """End the server at once: whoever leaves the block has all answers."""
        self.kill()

    @abstractmethod
    def _prepare(self) -> None:
        """Find the program and check what it needs, before anything is made."""

    @abstractmethod
    def _new_runtime(self) -> Runtime:
        """Make the temporary folder of one run."""

    @abstractmethod
    def _command(self, runtime: Runtime) -> list[str]:
        """Return the program, and the options that only this kind of server gets."""

    def _spawn(self, runtime: Runtime) -> None:
        limits = self._limits
        assert limits is not None
        environment = runtime.environment()
        skipped = self._skipped.models if self._skipped else ()
        lay_out(self.model_repository, runtime.models, skipped, self._options.color)
        command = [*self._command(runtime), *self._arguments(runtime), *self._options.extra_args]
        with self._log.writer(runtime.default_log) as output:
            self._process = processes.spawn(command, environment, output, limits)

    def _arguments(self, runtime: Runtime) -> list[str]:
        arguments = [
            f"--model-repository={runtime.models}",
            *ports.address_arguments(self._address),
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            # The configurations are complete; to complete them the server would start every
            # backend process twice.
            "--disable-auto-complete-config",
            # Each message object that is kept for reuse keeps the room of the largest request.
            "--grpc-infer-allocation-pool-size=0",
            "--backend-config=python,stub-timeout-seconds=120",
            f"--backend-config=python,shm-region-prefix-name={runtime.shm_prefix}",
        ]
        if self._options.tls is not None:
            arguments += self._options.tls.arguments()
        if self._options.restrict_management:
            # Nobody is told the word that would open it again, and every start has another. A
            # Triton without one of these options refuses to start.
            rule = f"{_MANAGEMENT}:facekit-management={secrets.token_hex(16)}"
            arguments += [
                "--model-control-mode=none",
                f"--grpc-restricted-protocol={rule}",
                f"--http-restricted-api={rule}",
            ]
        return arguments + [f"{option}={port}" for option, port in self._ports.items()]

    def _url(self, option: str) -> str:
        if option not in self._ports:
            raise SetupError("The server is not started: its ports are not chosen yet.")
        host = ports.host_in_url(ports.reached_at(self._address))
        return f"{host}:{self._ports[option]}"

    def _fail(self, what: str, lines: list[str] | None = None) -> None:
        if self.pid is None:
            self._log.finish()
        found = reasons(self._log.tail() if lines is None else lines)
        text = "\n  ".join([f"{what}:", *found]) if found else f"{what}."
        if self._runtime is not None:  # the user's own paths in place of the links to them
            text = text.replace(str(self._runtime.models), str(self.model_repository))
        self.kill()
        where = f"\nThe whole log: {self._log.file}" if self._log.file is not None else ""
        raise SetupError(f"{text}{where}")

    def _release(self) -> None:
        if self._runtime is not None:
            self._log.end()
            self._runtime.remove()
        self._runtime = self._trusted = None
        self._process = None
