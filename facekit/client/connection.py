"""The checked connection options of both clients."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE
from tritonclient.utils import InferenceServerException

from facekit.client.failures import translate
from facekit.client.tls import certified_name
from facekit.errors import ConfigError, FacekitError, ServerUnavailableError
from facekit.limits import MAX_TIMEOUT_S

NO_PROXY: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_http_proxy", 0),
    # Overrides GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES, which the former does not.
    ("grpc.address_http_proxy_enabled_addresses", ""),
)
"""Options of a gRPC channel that ignores every proxy of the environment."""

# An IPv6 address is in brackets, so that its colons are not taken for the port's.
_HOST_AND_PORT = re.compile(r"([^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):([0-9]{1,5})|unix:\S+")
_TOKEN = re.compile(r"[!-~]+")

Client = TypeVar("Client", bound=Any)
Self = TypeVar("Self", bound="Connected")


@dataclass(frozen=True)
class Connection:
    """Options of one connection, as of :class:`facekit.Client`.

    Raises:
        ConfigError: ``url`` is not ``host:port``, ``timeout_s`` is not above 0 and at most
            ``limits.MAX_TIMEOUT_S``, a certificate file cannot be read, or two options contradict.
    """

    url: str
    timeout_s: float
    ssl: bool = False
    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    server_name: str | None = None
    tls_certificate: str | os.PathLike[str] | None = None
    token: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.url.startswith(("http://", "https://", "grpc://", "grpcs://")):
            host = re.sub(r"^\w+://(\[[^]]*\]|[^:/]*).*", r"\1", self.url) or "localhost"
            raise ConfigError(
                f"url: expected host:port of the server's gRPC, with nothing before it, such as "
                f"{host}:8001; got {self.url}"
            )
        match = _HOST_AND_PORT.fullmatch(self.url)
        if match is None or not 0 < int(match[2] or 1) < 1 << 16:
            such_as = "such as localhost:8001"
            if self.url.count(":") > 1:
                such_as = "an IPv6 address in brackets, such as [::1]:8001"
            raise ConfigError(f"url: expected host:port, {such_as}; got {self.url!r}")
        if not 0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(
                f"timeout_s: expected seconds > 0 and <= {MAX_TIMEOUT_S:,}, got {self.timeout_s}"
            )
        token = self.token or os.environ.get("FACEKIT_TOKEN") or None
        object.__setattr__(self, "token", token)
        if token is not None and not _TOKEN.fullmatch(token):
            raise ConfigError("token: expected printable ASCII without spaces (or FACEKIT_TOKEN)")
        self._check_encryption()

    def metadata(self) -> dict[str, str]:
        """Return what is sent with each call: the headers, and the token."""
        token = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        return {**dict(self.headers), **token}

    def opened(
        self, kind: Callable[..., Client], arguments: dict[str, Any] | None = None
    ) -> Client:
        """Return one of tritonclient's gRPC clients, which sends token and headers with each call.

        ``arguments`` are those that ``arguments()`` gave before; errors are as there.
        """
        client = kind(**(arguments or self.arguments()))
        sent = self.metadata()
        if sent:
            client.register_plugin(lambda request: request.headers.update(sent))
        return client

    def _check_encryption(self) -> None:
        files = ("root_certificates", "private_key", "certificate_chain", "tls_certificate")
        given = {name: getattr(self, name) for name in (*files, "server_name")}
        for name, value in given.items():
            if value is None:
                continue
            if name != "tls_certificate" and not self.ssl:
                raise ConfigError(f"{name}: needs ssl=True")
            if name in files:
                try:
                    Path(value).read_bytes()
                except OSError as error:
                    raise ConfigError(f"{name}: {value}: {error.strerror or error}") from error
        if self.tls_certificate is not None and (self.ssl or self.url.startswith("unix:")):
            raise ConfigError("tls_certificate: needs host:port, and no other encryption option")

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of tritonclient's gRPC clients.

        With ``tls_certificate`` this fetches the server's certificate first.

        Raises:
            ServerError: Nobody listens, it is not encrypted, or has another certificate.
            SetupError: ``tls_certificate`` is not a PEM certificate, or carries no name.
        """
        pinned, name = self.tls_certificate, self.server_name
        if pinned is not None:
            name = certified_name(self.url, pinned, self.timeout_s)
        return {
            "url": self.url,
            "ssl": self.ssl or pinned is not None,
            "root_certificates": self.root_certificates if pinned is None else pinned,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
            "channel_args": self._channel_arguments(name),
        }

    def not_ready(self) -> ServerUnavailableError:
        """Return the error for a server that is not ready or does not exist."""
        return ServerUnavailableError(
            f"no server is ready at {self.url} (gRPC, not the HTTP port; an encrypted one needs "
            "tls_certificate, or --tls-cert)"
        )

    def _channel_arguments(self, server_name: str | None) -> list[tuple[str, int | str]]:
        arguments: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
            ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
            # A server that is restarted is back within seconds, but gRPC waits up to two minutes
            # before it tries again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # Otherwise two clients of one process share a broken connection and its back-off.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if on_this_machine(self.url):
            # A proxy of the environment (http_proxy, ...) may not reach this machine.
            arguments += NO_PROXY
        else:
            # Calls go to all addresses of a name, such as a headless Service of Kubernetes, and not
            # only to the first that answers.
            arguments.append(("grpc.lb_policy_name", "round_robin"))
        if server_name is not None:
            arguments.append(("grpc.ssl_target_name_override", server_name))
        return arguments


class Connected:
    """Base of both clients; see :class:`facekit.Client` for the arguments."""

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        timeout_s: float = 30.0,
        ssl: bool = False,
        root_certificates: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        server_name: str | None = None,
        tls_certificate: str | os.PathLike[str] | None = None,
        token: str | None = None,
    ) -> None:
        self._closed = False
        self._connection = Connection(
            url,
            timeout_s,
            ssl,
            root_certificates,
            private_key,
            certificate_chain,
            server_name,
            tls_certificate,
            token,
        )
        # The first call creates tritonclient's own client: gRPC's asyncio binds it to the running
        # event loop, and a pinned certificate is fetched from the server.
        self._triton: Any = None
        self._opening = threading.Lock()

    @classmethod
    def over(cls: type[Self], connection: Connection) -> Self:
        """Return the client of a connection whose options were checked already."""
        client = cls(connection.url)
        client._connection = connection
        return client

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.url!r})"

    def _translated(self, error: InferenceServerException, model: str) -> FacekitError:
        connection = self._connection
        return translate(error, model=model, url=connection.url, timeout_s=connection.timeout_s)


def on_this_machine(url: str) -> bool:
    """Return whether ``host:port`` or ``unix:PATH`` is on this machine, without a name server.

    True for loopback, addresses of this machine's network interfaces, ``localhost`` and its own
    host name.
    """
    if url.startswith("unix:"):
        return True
    host = url.rpartition(":")[0].strip("[]").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in ("localhost", socket.gethostname().lower())
    return address.is_loopback or address.is_unspecified or _is_own(address)


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Sends nothing: the kernel only chooses the source address of packets, which is the
            # target's address exactly where the target is this machine.
            probe.connect((str(address), 9))
            source = str(probe.getsockname()[0])
    except OSError:
        return False
    return ipaddress.ip_address(source) == address
