"""A server that tests share is not mended in silence."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from facekit.client import Client
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for
from tests.shared import restart_ended, shared


def test_server_that_ended_is_told_with_its_log_and_started_again(tmp_path: Path) -> None:
    with shared(EmbeddedServer(tiny_repository(tmp_path))) as server:
        assert restart_ended() == ""
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert wait_for(lambda: server.pid is None)

        said = restart_ended()

        assert said.startswith(f"The shared server of {tmp_path}: the server was ended by SIGKILL")
        assert "Started GRPCInferenceService" in said
        assert restart_ended() == ""
        with Client(server.grpc_url) as client:
            assert len(client.detect(probe_photo())) == 2
