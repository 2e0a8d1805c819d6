"""What callers can and can't do at a server whose management is restricted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import SetupError
from facekit.serving import EmbeddedServer, StockServer
from facekit.serving.health import check
from tests.serving.tiny import tiny_repository
from tests.shared import shared


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tiny_repository(tmp_path_factory.mktemp("models"))
    with shared(EmbeddedServer(repository, restrict_management=True)) as server:
        yield server


def test_restricted_server_answers_callers_and_probes(restricted: EmbeddedServer) -> None:
    with Client(restricted.grpc_url) as client:
        assert len(client.detect(probe_photo())) == 2
    assert check(restricted.grpc_url).ok


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


def test_restricted_server_whose_program_tells_no_options_is_given_all_of_them(
    tmp_path: Path,
) -> None:
    program = tmp_path / "opt" / "bin" / "tritonserver"
    program.parent.mkdir(parents=True)
    (tmp_path / "opt" / "backends").mkdir()
    program.write_text('#!/bin/sh\ncase "$*" in *--help*) exit 127;; *) echo "$@"; exit 1;; esac\n')
    program.chmod(0o755)
    repository = tiny_repository(tmp_path / "m")
    server = StockServer(repository, root=tmp_path / "opt", restrict_management=True)

    with pytest.raises(SetupError), server:
        pass

    given = " ".join(server.log_tail())
    closed = "model-repository,shared-memory,trace,logging:facekit-management="
    assert f"--grpc-restricted-protocol={closed}" in given
    assert "--allow-http=false" in given
    assert "--model-control-mode=none" in given
