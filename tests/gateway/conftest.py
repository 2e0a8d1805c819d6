from __future__ import annotations

import pytest

from facekit.serving.embedded import EmbeddedServer


@pytest.fixture
def url(server: EmbeddedServer) -> str:
    """The URL of the gateway before the real server."""
    return f"http://{server.http_url}"
