"""What the tests share: one embedded server for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from facekit.serving.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The real embedded Triton on the kit's own model repository."""
    with EmbeddedServer() as running:
        yield running
