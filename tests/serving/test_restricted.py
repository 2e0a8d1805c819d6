"""What callers can and can't do at a server whose management is restricted."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client import Client
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer
from facekit.serving.health import check
from tests.serving.tiny import tiny_repository


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tiny_repository(tmp_path_factory.mktemp("models"))
    with EmbeddedServer(repository, restrict_management=True) as server:
        yield server


def test_restricted_server_answers_callers_and_probes(restricted: EmbeddedServer) -> None:
    with Client(restricted.grpc_url) as client:
        assert len(client.detect(probe_photo())) == 2
    assert check(restricted.grpc_url).ok
    assert restricted.remarks == []


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_model_repository_index(),
        lambda client: client.load_model("faces"),
        lambda client: client.unload_model("faces"),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("region", "/region", 16),
        lambda client: client.get_cuda_shared_memory_status(),
        lambda client: client.get_trace_settings(),
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
    ],
)
def test_restricted_server_refuses_management_over_grpc(
    restricted: EmbeddedServer, call: Callable[[InferenceServerClient], object]
) -> None:
    with (
        InferenceServerClient(restricted.grpc_url) as client,
        pytest.raises(InferenceServerException, match="This protocol is restricted"),
    ):
        call(client)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/faces/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("GET", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
    ],
)
def test_restricted_server_refuses_management_over_http(
    restricted: EmbeddedServer, method: str, path: str
) -> None:
    assert status(restricted, method, path) == http.HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/stats", "/v2/models/faces"])
def test_restricted_server_tells_its_health_over_http(
    restricted: EmbeddedServer, path: str
) -> None:
    assert status(restricted, "GET", path) == http.HTTPStatus.OK


def test_restricted_server_of_an_old_triton_says_what_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekit.serving.server.help_text", lambda *_: "--grpc-port")

    with EmbeddedServer(tiny_repository(tmp_path / "m"), restrict_management=True) as server:
        assert len(server.remarks) == 2
        assert "does not know --http-restricted-api" in server.remarks[1]


def status(server: EmbeddedServer, method: str, path: str) -> int:
    connection = http.client.HTTPConnection(server.http_url, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()
