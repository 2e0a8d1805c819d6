from __future__ import annotations

from collections.abc import Iterator

import pytest

from facekit.serving.embedded import EmbeddedServer
from tests.gateway.gateways import gateway


@pytest.fixture(scope="session")
def url(server: EmbeddedServer) -> Iterator[str]:
    """The URL of a gateway before the real server."""
    with gateway("--url", server.grpc_url) as address:
        yield address
