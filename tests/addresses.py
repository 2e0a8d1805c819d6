"""Addresses of this machine, and a proxy that must not be asked."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from types import TracebackType

import pytest


@functools.cache
def has_ipv6() -> bool:
    """Whether this machine has the loopback address ``::1``."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def own_address() -> str:
    """Return an IPv4 address of this machine beyond loopback; skip the test if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent; the address is of a network for documentation.
            probe.connect(("198.51.100.7", 9))
        except OSError:
            pytest.skip("this machine has no network interface beyond loopback")
        return str(probe.getsockname()[0])


class Proxy:
    """Listens as an HTTP proxy would, notes the first line of each request and refuses it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(5)
                    self.asked.append("")
                    self.asked[-1] = connection.recv(4096).decode("latin-1").partition("\r\n")[0]
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
