"""Where a server listens: what is published, and what only this machine reaches."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import SetupError
from facekit.serving import ports
from facekit.serving.own_token import remove_own_token, write_own_token
from facekit.serving.tls import Tls

# What can read or change more of the machine than an inference does.
_MANAGEMENT = "model-repository,shared-memory,trace,logging"
# What callers and probes need.
_INFERENCE = "health,metadata,inference,model-config,statistics"
# The name by which Triton is given the secret that opens these.
_SECRET_NAME = "facekit"

SECRET_VARIABLE, OWN_TOKEN_VARIABLE = "FACEKIT_SERVER_SECRET", "FACEKIT_OWN_TOKEN"
"""Environment variables of a gateway: what its server asks for with every call, and a token that
is in no file."""


@dataclass(frozen=True)
class ServerOptions:
    """Options of every kind of server.

    Attributes:
        http_port: Of the gateway, which publishes HTTP and the metrics; 0 for any free one, as for
            the other two ports. None for no gateway: the metrics then listen on this machine's own
            address.
        address: The IPv4 or IPv6 address to listen on, or a host name.
        log_file: File that the server's log is appended to; ``-`` is standard error; by default a
            temporary file.
        tls: Encrypts all that is published.
        tokens: File of tokens, one of which callers need; only with ``http_port``.
        color: What FaceNet is fed, ``gray`` or ``rgb``; by default what the repository's
            configurations say.
        restrict_management: Refuses callers everything but inference: loading models, shared
            memory, trace and log settings.
        extra_args: More options for the ``tritonserver`` program.
        gateway_args: More options for ``facekit gateway``.
    """

    http_port: int | None = None
    grpc_port: int = 0
    metrics_port: int = 0
    address: str = "127.0.0.1"
    log_file: str | os.PathLike[str] | None = None
    tls: Tls | None = None
    tokens: Path | None = None
    color: str | None = None
    restrict_management: bool = False
    extra_args: Sequence[str] = ()
    gateway_args: Sequence[str] = ()


class Endpoints:
    """The addresses and ports of one server, which it keeps when it is started again.

    Triton's HTTP front ends can be ended by one request: its metrics listen on this machine's own
    address, and its HTTP not at all. With tokens its gRPC is behind the gateway's as well.
    """

    def __init__(self, options: ServerOptions) -> None:
        if options.tokens is not None and options.http_port is None:
            raise SetupError("tokens: only with an http_port, since the gateway asks for them")
        self._options = options
        self._address = options.address
        self._published: dict[str, int] = {}
        self._inner: dict[str, int] = {}
        # Of the published ports those that Triton itself listens on.
        self._own: set[str] = set()
        # What opens Triton's gRPC where callers need a token; it stands in Triton's command line.
        self._secret = secrets.token_urlsafe(32)
        # What lets `facekit status` of this user in, as a token of the file does.
        self._own_token = secrets.token_urlsafe(32)

    @property
    def grpc_url(self) -> str:
        """``host:port`` of gRPC; an IPv6 address in brackets."""
        return self._url("--grpc-port")

    @property
    def http_url(self) -> str:
        """``host:port`` of HTTP; raises SetupError if there is none."""
        if self._options.http_port is None:
            raise SetupError("The server has no HTTP: give it an http_port (0: any free one).")
        return self._url("--http-port")

    @property
    def metrics_url(self) -> str:
        """URL of the metrics page."""
        if self._options.http_port is None:
            return self._triton_metrics()
        scheme = "https" if self._options.tls else "http"
        return f"{scheme}://{self._url('--metrics-port')}/metrics"

    @property
    def triton_url(self) -> str:
        """``host:port`` of Triton's own gRPC."""
        if "--grpc-port" in self._inner:
            return self._inner_url("--grpc-port")
        return self.grpc_url

    def gateway_sockets(self) -> list[tuple[str, int]]:
        """Return where the gateway listens, if there is one."""
        host = ports.reached_at(self._address)
        return [(host, port) for option, port in self._published.items() if option not in self._own]

    def choose(self, *, gateway_runs: bool) -> None:
        """Choose the ports, or check that those of before are free.

        Raises SetupError if the address or a port can't be had.
        """
        options = self._options
        self._address = ports.resolve(options.address)
        wanted = {"--grpc-port": options.grpc_port, "--metrics-port": options.metrics_port}
        if options.http_port is None:
            inner = {"--metrics-port": wanted.pop("--metrics-port")}
        else:
            wanted["--http-port"] = options.http_port
            inner = {"--metrics-port": 0, **({"--grpc-port": 0} if options.tokens else {})}
        self._own = set(wanted) - set(inner) - {"--http-port"}
        wanted, inner = self._published or wanted, self._inner or inner
        if gateway_runs:  # it holds its own
            wanted = {option: port for option, port in wanted.items() if option in self._own}
        self._published |= ports.choose_ports(self._address, wanted)
        self._inner = ports.choose_ports(ports.loopback(self._address), inner)

    def triton_arguments(self) -> list[str]:
        """Return the options of ``tritonserver``."""
        inner = ports.loopback(self._address)
        grpc = inner if "--grpc-port" in self._inner else self._address
        own = {option: self._published[option] for option in self._own}
        arguments = [
            "--allow-http=false",
            # In the form of its own HTTP library.
            f"--metrics-address={'ipv6:' if ':' in inner else ''}{inner}",
            f"--grpc-address={ports.host_in_url(grpc)}",
            *(f"{option}={port}" for option, port in {**own, **self._inner}.items()),
        ]
        if self._options.tls is not None and grpc is self._address:
            arguments += self._options.tls.arguments()
        if self._options.restrict_management or self._options.tokens:
            # Nobody is told the word that would open it again, and every start has another. A
            # Triton without one of these options refuses to start.
            closed = f"{_MANAGEMENT}:facekit-management={secrets.token_hex(16)}"
            arguments += ["--model-control-mode=none", f"--grpc-restricted-protocol={closed}"]
        if self._options.tokens:
            rule = f"{_INFERENCE}:{_SECRET_NAME}={self._secret}"
            arguments.append(f"--grpc-restricted-protocol={rule}")
        return arguments

    def gateway_arguments(self, trusted: Path | None) -> list[str]:
        """Return the options of ``facekit gateway``; ``trusted`` is Triton's certificate."""
        options = self._options
        arguments = [
            f"--url={self.triton_url}",
            f"--address={self._address}",
            f"--http-port={self._published['--http-port']}",
            f"--metrics-port={self._published['--metrics-port']}",
            f"--metrics-url={self._triton_metrics()}",
        ]
        if options.tls is not None:
            arguments += [f"--tls-cert={options.tls.certificate}", f"--tls-key={options.tls.key}"]
        if options.tokens is not None:
            arguments += [f"--tokens={options.tokens}"]
            arguments += [f"--grpc-port={self._published['--grpc-port']}"]
        elif trusted is not None:
            arguments += [f"--server-tls-cert={trusted}"]
        return [*arguments, *options.gateway_args]

    def gateway_secrets(self) -> dict[str, str]:
        """Return what ``facekit gateway`` finds in its environment."""
        if self._options.tokens is None:
            return {}
        return {SECRET_VARIABLE: self._secret, OWN_TOKEN_VARIABLE: self._own_token}

    def leave_own_token(self) -> None:
        """Let ``facekit status`` of this user in, where callers need a token."""
        if self._options.tokens is not None:
            write_own_token(self._published["--grpc-port"], self._own_token)

    def remove_own_token(self) -> None:
        """End what ``leave_own_token`` did."""
        if self._options.tokens is not None:
            remove_own_token(self._published["--grpc-port"])

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what Triton's gRPC asks for with every call."""
        return triton_headers(self._secret) if self._options.tokens else ()

    def _triton_metrics(self) -> str:
        return f"http://{self._inner_url('--metrics-port')}/metrics"

    def _url(self, option: str) -> str:
        return _joined(ports.reached_at(self._address), self._published, option)

    def _inner_url(self, option: str) -> str:
        return _joined(ports.loopback(self._address), self._inner, option)


def _joined(host: str, chosen: dict[str, int], option: str) -> str:
    if option not in chosen:
        raise SetupError("The server is not started: its ports are not chosen yet.")
    return f"{ports.host_in_url(host)}:{chosen[option]}"


def triton_headers(secret: str) -> tuple[tuple[str, str], ...]:
    """Return the headers that open a Triton whose callers need a token."""
    return ((f"triton-grpc-protocol-{_SECRET_NAME}", secret),)
