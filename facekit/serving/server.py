"""A Triton server as a child process; the subclasses choose the program."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from facekit.client.connection import Connection
from facekit.engines.optional import SkippedModels
from facekit.errors import SetupError
from facekit.serving import processes
from facekit.serving.endpoints import Endpoints, ServerOptions
from facekit.serving.gateway import GatewayProcess
from facekit.serving.installation import check_shared_memory
from facekit.serving.limits import ProcessLimits, process_limits
from facekit.serving.log import ServerLog, foreign_lines, reasons
from facekit.serving.repository import check_repository, default_model_repository, lay_out
from facekit.serving.runtime import Runtime
from facekit.serving.starting import BackendWatch, answers_ready
from facekit.serving.tls import TlsState

# Seconds that requests under way get at a stop.
_EXIT_TIMEOUT_S = 10
_POLL_S = 0.02
_READY_TIMEOUT_S = 5.0
_GATEWAY_START_S = 60.0
_Self = TypeVar("_Self", bound="TritonServer")


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
        self._endpoints = Endpoints(self._options)
        self.gateway: GatewayProcess | None = None
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
        """``host:port`` of the HTTP endpoint; an IPv6 address in brackets.

        Raises SetupError if there is none, as without the option ``http_port``.
        """
        return self._endpoints.http_url

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint; an IPv6 address in brackets."""
        return self._endpoints.grpc_url

    @property
    def metrics_url(self) -> str:
        """URL of the metrics page."""
        return self._endpoints.metrics_url

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about what is served otherwise than asked for, or where resources are short."""
        skipped = self._skipped.message if self._skipped else ""
        stack = self._limits.note if self._limits else ""
        return tuple(line for line in (skipped, stack, self._shared_memory_note) if line)

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
        """Whether what is published is encrypted, so that TLS files can be renewed."""
        return self._options.tls is not None

    @property
    def asks_for_tokens(self) -> bool:
        """Whether callers need a token."""
        return self._options.tokens is not None

    def connection(self, timeout_s: float) -> Connection:
        """Return how this process reaches Triton's gRPC.

        Raises ConfigError if the certificate has been removed meanwhile.
        """
        endpoints = self._endpoints
        if self._options.tls is None or endpoints.triton_url != endpoints.grpc_url:
            return Connection(endpoints.triton_url, timeout_s, headers=endpoints.headers())
        return Connection(
            endpoints.grpc_url,
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
        gateway_runs = self.gateway is not None and self.gateway.pid is not None
        self._endpoints.choose(gateway_runs=gateway_runs)
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
        self,
        timeout_s: float = 120.0,
        cancelled: Callable[[], bool] | None = None,
        *,
        keep_gateway: bool = False,
    ) -> None:
        """Wait until every model is loaded, or until ``cancelled`` returns true.

        A SetupError names the model and the reason if the server or one of its backend processes
        ended instead, or it is not ready in time. The server is stopped then, but for its gateway
        with ``keep_gateway``.
        """
        try:
            self._wait_ready(timeout_s, cancelled)
        except SetupError:
            self.kill(gateway=not keep_gateway)
            raise

    def _wait_ready(self, timeout_s: float, cancelled: Callable[[], bool] | None) -> None:
        process = self._process
        if process is None:
            raise SetupError("The server is not started.")
        deadline = time.monotonic() + timeout_s
        backends = BackendWatch(process.pid)
        while not self._answers():
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

    def start_gateway(self) -> None:
        """Start the gateway again that has ended; raises SetupError if it does not come up."""
        gateway = self.gateway
        assert gateway is not None
        gateway.start()
        deadline = time.monotonic() + _GATEWAY_START_S
        while not self._gateway_listens():
            if time.monotonic() > deadline:
                raise SetupError(f"The HTTP gateway was not ready after {_GATEWAY_START_S:g} s.")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the server with all its processes; requests under way end first."""
        if self.gateway is not None:
            self.gateway.stop()
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

    def kill(self, *, gateway: bool = True) -> None:
        """End the server with all its processes at once, and wait until they have ended.

        Without ``gateway`` that one goes on, if it can, and tells callers that the server is away.
        """
        # One that trusts the certificate of this run can't go on.
        trusts = self._trusted is not None and self._options.tokens is None
        if self.gateway is not None and (gateway or trusts):
            self.gateway.kill()
            self.gateway = None
            self._endpoints.remove_own_token()
        backends = [] if self._process is None else processes.children(self._process.pid)
        self._abort()
        if self._process is not None:
            self._process.wait()
        # A killed process takes a moment to go on a busy machine; one that hangs in the kernel
        # must not hang the caller.
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while any(map(processes.still_runs, backends)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._release()

    def abort(self) -> None:
        """Kill the server with all its processes and return, as a signal handler may."""
        if self.gateway is not None:
            self.gateway.abort()
        self._abort()

    def _abort(self) -> None:
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
        if self._options.http_port is not None:
            if self.gateway is None:
                arguments = self._endpoints.gateway_arguments(self._trusted)
                self.gateway = GatewayProcess(arguments, self._endpoints.gateway_secrets(), limits)
            self.gateway.start()
            self._endpoints.leave_own_token()

    def _arguments(self, runtime: Runtime) -> list[str]:
        return [
            f"--model-repository={runtime.models}",
            *self._endpoints.triton_arguments(),
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            # The configurations are complete; to complete them the server would start every
            # backend process twice.
            "--disable-auto-complete-config",
            # Each message object that is kept for reuse keeps the room of the largest request.
            "--grpc-infer-allocation-pool-size=0",
            "--backend-config=python,stub-timeout-seconds=120",
            f"--backend-config=python,shm-region-prefix-name={runtime.shm_prefix}",
        ]

    def _answers(self) -> bool:
        return answers_ready(self.connection(_READY_TIMEOUT_S)) and self._gateway_listens()

    def _gateway_listens(self) -> bool:
        gateway = self.gateway
        return gateway is None or all(map(gateway.listens, self._endpoints.gateway_sockets()))

    def _fail(self, what: str, lines: list[str] | None = None) -> None:
        if self.pid is None:
            self._log.finish()
        found = reasons(self._log.tail() if lines is None else lines)
        text = "\n  ".join([f"{what}:", *found]) if found else f"{what}."
        if self._runtime is not None:  # the user's own paths in place of the links to them
            text = text.replace(str(self._runtime.models), str(self.model_repository))
        where = f"\nThe whole log: {self._log.file}" if self._log.file is not None else ""
        raise SetupError(f"{text}{where}")

    def _release(self) -> None:
        if self._runtime is not None:
            self._log.end()
            self._runtime.remove()
        self._runtime = self._trusted = None
        self._process = None
