"""One server of a tiny repository for all tests that break it only by files in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.serving import EmbeddedServer
from tests.serving.tiny import reset, tiny_repository


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server whose ``faces`` works."""
    with EmbeddedServer(tiny_repository(tmp_path_factory.mktemp("tiny"))) as server:
        yield server


@pytest.fixture
def tiny_server(shared_server: EmbeddedServer) -> EmbeddedServer:
    """The shared server, started again if the test before ended it: one failure stays one."""
    if shared_server.pid is None:
        shared_server.start()
        shared_server.wait_ready()
    return shared_server


@pytest.fixture
def tiny_model(tiny_server: EmbeddedServer) -> Iterator[Path]:
    """The folder of the shared server's model, which works again after the test."""
    folder = tiny_server.model_repository / "faces"
    yield folder
    reset(tiny_server)
