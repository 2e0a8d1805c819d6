from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facekit.client.connection import Connection
from facekit.errors import DeadlineError, FacekitError
from facekit.serving import EmbeddedServer
from facekit.serving.health import check
from facekit.serving.probing import BackgroundProber
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tiny_repository(tmp_path_factory.mktemp("models"))) as server:
        yield server


@pytest.fixture
def model(running: EmbeddedServer) -> Iterator[Path]:
    folder = running.model_repository / "faces"
    yield folder
    for flag in ("fail", "hang", "hanging"):
        (folder / flag).unlink(missing_ok=True)
    assert wait_for(lambda: check(running.grpc_url).ok)


def first_failure(
    server: EmbeddedServer, cpu_s: Callable[[], float], timeout_s: float = 30
) -> tuple[str, FacekitError] | None:
    connection = Connection(server.grpc_url, timeout_s=0.5)
    with BackgroundProber(connection, 0.05, cpu_s, wanted_s=lambda: 0.0) as prober:
        wait_for(lambda: prober.failure() is not None, timeout_s)
        return prober.failure()


def test_working_server_has_no_failure(running: EmbeddedServer, model: Path) -> None:
    assert first_failure(running, lambda: 0.0, timeout_s=1) is None


def test_error_of_the_model_is_a_failure(running: EmbeddedServer, model: Path) -> None:
    (model / "fail").touch()

    failure = first_failure(running, lambda: 0.0)

    assert failure is not None
    assert failure[0] == "faces"
    assert "it fails" in str(failure[1])


def test_hanging_and_idle_backend_is_a_failure(running: EmbeddedServer, model: Path) -> None:
    (model / "hang").touch()

    failure = first_failure(running, lambda: 7.0)

    assert failure is not None
    assert isinstance(failure[1], DeadlineError)


def test_busy_backend_is_given_time(running: EmbeddedServer, model: Path) -> None:
    (model / "hang").touch()
    busy = itertools.count(0.0, 0.5)

    # Three missed deadlines are no failure yet, and eight are.
    assert first_failure(running, lambda: next(busy), timeout_s=1.8) is None
    failure = first_failure(running, lambda: next(busy))

    assert failure is not None
    assert isinstance(failure[1], DeadlineError)
