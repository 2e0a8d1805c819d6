"""What the tests share: one embedded server for all of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from facekit.serving.embedded import EmbeddedServer


def pytest_sessionstart() -> None:
    """Let Ctrl-C reach the programs under test, which a shell's background jobs ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The real embedded Triton on the kit's own model repository."""
    with EmbeddedServer() as running:
        yield running
