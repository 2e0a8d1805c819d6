"""What tests share: gateways before the kit's own models and models that echo, and a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from facekit.serving.embedded import EmbeddedServer
from tests.gateway.echo import Echo, server_with_http
from tests.gateway.gateways import gateway

if TYPE_CHECKING:
    from tests.gateway.browser import Browser, FacekitPage


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Whoever asks for it has imported this, and is skipped where there is no browser.
    from tests.gateway.browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Callable[..., FacekitPage]]:
    """Opens the page of the shared gateway, or ``at`` another address."""
    from tests.gateway.browser import FacekitPage

    pages: list[FacekitPage] = []

    def opened(at: str = url, **options: Any) -> FacekitPage:
        pages.append(FacekitPage(browser, at, **options))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()
