"""Where a server is and how to reach it: checked once, used by both clients."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE

from facekit.errors import ConfigError

MAX_TIMEOUT_S = 86_400
"""A day: gRPC takes a time that overflows its clock for one that is over."""

NO_PROXY: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_http_proxy", 0),
    # Overrides GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES, which the former does not.
    ("grpc.address_http_proxy_enabled_addresses", ""),
)
"""Options of a gRPC channel that goes past every proxy of the environment."""

# An IPv6 address stands in brackets, so that its colons are not taken for the port's.
_HOST_AND_PORT = re.compile(r"([^\s:/\[\]]+|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]):([0-9]{1,5})|unix:\S+")


@dataclass(frozen=True)
class Connection:
    """Options of one connection, as given to a client.

    ``server_name`` is the name that the server's certificate must carry, in place of ``url``'s.

    Raises:
        ConfigError: ``url`` is no ``host:port``, ``timeout_s`` is not above 0 and at most
            ``MAX_TIMEOUT_S``, a certificate file can't be read, or one is given without ``ssl``.
    """

    url: str
    timeout_s: float
    ssl: bool = False
    root_certificates: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.url.startswith(("http://", "https://", "grpc://", "grpcs://")):
            bare = self.url.split("://", 1)[1].rstrip("/")
            raise ConfigError(f"url: expected host:port, such as {bare}; got {self.url}")
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
        for name in ("root_certificates", "private_key", "certificate_chain"):
            value = getattr(self, name)
            if value is None:
                continue
            if not self.ssl:
                raise ConfigError(f"{name}: needs ssl=True")
            try:
                Path(value).read_bytes()
            except OSError as e:
                raise ConfigError(f"{name}: {value}: {e.strerror or e}") from e
        if self.server_name is not None and not self.ssl:
            raise ConfigError("server_name: needs ssl=True")

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of tritonclient's gRPC clients."""
        return {
            "url": self.url,
            "ssl": self.ssl,
            "root_certificates": self.root_certificates,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
            "channel_args": self._channel_arguments(),
        }

    def _channel_arguments(self) -> list[tuple[str, int | str]]:
        arguments: list[tuple[str, int | str]] = [
            ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
            ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
            # A server that is restarted is back within seconds, but gRPC waits up to two minutes
            # before it tries again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # Else two clients of one process share a broken connection and its waiting time.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if on_this_machine(self.url):
            # A proxy that the environment names (http_proxy, ...) may have no way back to here.
            arguments += NO_PROXY
        else:
            # A name with several addresses, such as a headless Service of Kubernetes: calls go to
            # all of them, and not to the first that answers.
            arguments.append(("grpc.lb_policy_name", "round_robin"))
        if self.server_name is not None:
            arguments.append(("grpc.ssl_target_name_override", self.server_name))
        return arguments


def on_this_machine(url: str) -> bool:
    """Return whether ``host:port`` or ``unix:PATH`` names this very machine.

    Answered without a name server: true of loopback, of the addresses of this machine's own network
    interfaces, of ``localhost`` and of this machine's host name.
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
            # Sends nothing: the kernel only chooses the address that packets would leave from,
            # and that is the target's own address just where the target is this machine.
            probe.connect((str(address), 9))
            source = str(probe.getsockname()[0])
    except OSError:
        return False
    return ipaddress.ip_address(source) == address
