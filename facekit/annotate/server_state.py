"""One of several servers: how it is reached, and how busy it is."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facekit.client import Client, PhotoLike
from facekit.errors import ServerError
from facekit.faces import Faces


class ServerState:
    """One server, whose numbers the pool keeps under its own lock.

    Args:
        url: ``host:port`` of its gRPC endpoint.
        timeout_s: What one photo may take.
        tls_certificate: The PEM file of its certificate, where it is encrypted.

    Attributes:
        there: Whether it gets requests.
        proven: Whether it has found faces.
        ended: Why it will never do so again; "" where it may.
        busy: Requests in flight.
        asked: Requests so far.

    Raises:
        ConfigError: ``url`` or ``timeout_s`` is wrong.
    """

    def __init__(self, url: str, timeout_s: float, tls_certificate: Path | None) -> None:
        self.url = url
        self._client = Client(url, timeout_s=timeout_s, tls_certificate=tls_certificate)
        self.there = True
        self.proven = False
        self.ended = ""
        self.busy = self.asked = 0

    def open(self) -> None:
        """Connect.

        Raises:
            ServerError: The server is not there, or has another certificate.
        """
        self._client.check_ready()

    def detect(self, photo: PhotoLike, model: str) -> Faces:
        """Find the faces of one photo."""
        return self._client.detect(photo, model=model)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def open_all(servers: Sequence[ServerState]) -> dict[ServerState, ServerError]:
    """Connect to all at one time, and return why some could not be reached.

    Raises:
        SetupError: The certificate can't be used.
    """
    threads = ThreadPoolExecutor(len(servers), thread_name_prefix="connect")
    try:
        answers = [(server, threads.submit(server.open)) for server in servers]
        errors = {}
        for server, answer in answers:
            try:
                answer.result()
            except ServerError as error:
                errors[server] = error
        return errors
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
