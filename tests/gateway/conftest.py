"""Gateways that tests share, before the kit's own models and before models that echo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from facekit.serving.embedded import EmbeddedServer
from tests.gateway.echo import Echo, server_with_http
from tests.gateway.gateways import gateway


@pytest.fixture(scope="session")
def url(server: EmbeddedServer) -> str:
    """The URL of the gateway before the real server."""
    return f"http://{server.http_url}"


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Echo]:
    """A running server of models that answer what they are sent, with and without a gateway."""
    with server_with_http(tmp_path_factory.mktemp("echo")) as (server, triton):
        with gateway("--url", server.grpc_url) as address:
            yield Echo(server, address, triton)
