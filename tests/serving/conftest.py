"""One server of a tiny repository for all tests that break it only by files in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.serving import EmbeddedServer
from tests.serving.tiny import reset, tiny_repository
from tests.shared import shared


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running server whose ``faces`` works."""
    with shared(EmbeddedServer(tiny_repository(tmp_path_factory.mktemp("tiny")))) as server:
        yield server


@pytest.fixture
def tiny_model(tiny_server: EmbeddedServer) -> Iterator[Path]:
    """The folder of the shared server's model, which works again after the test."""
    folder = tiny_server.model_repository / "faces"
    yield folder
    reset(tiny_server)
