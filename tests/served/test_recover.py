"""``facekit serve`` on the kit's own models: killed backends are mended, nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit import Client, ServerUnavailableError
from facekit.data import probe_photo
from facekit.errors import ServerError
from facekit.serving import processes
from tests.serving.waiting import wait_for
from tests.shared import triton_of


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """``facekit serve`` on free ports, and the file its lines go to."""
    said = tmp_path / "said"
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "facekit.cli", "serve", *ports], stdout=out, stderr=out
        )
    yield process, said
    process.kill()
    process.wait()


def stub_of(service: int, instance: str) -> processes.Process:
    """The backend process of one model instance."""
    server = triton_of(service)
    (stub,) = (c for c in processes.children(server.pid) if instance in processes.arguments(c.pid))
    return stub


def test_killed_backends_are_mended_and_the_stop_is_clean(
    service: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, said = service
    assert wait_for(lambda: b"ready: gRPC" in said.read_bytes())
    (url,) = re.findall(r"gRPC (\S+?),", said.read_text())
    with Client(url, timeout_s=20) as client:
        assert len(client.detect(probe_photo())) >= 1
        for rounds, instance in enumerate(("facenet_0_0", "faces_preprocess_0_0"), start=1):
            os.kill(stub_of(process.pid, instance).pid, signal.SIGKILL)
            assert wait_for(lambda n=rounds: said.read_text().count("ready again") == n)  # type: ignore[misc]
            assert f"backend process of {instance} died" in said.read_text()

            def answers() -> bool:
                try:
                    return len(client.detect(probe_photo())) >= 1
                except ServerError as e:
                    assert isinstance(e, ServerUnavailableError), e
                    assert "try again" in str(e)
                    return False

            assert wait_for(answers)
    family = processes.children(process.pid)
    family += processes.children(triton_of(process.pid).pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    assert not [p for p in family if processes.still_runs(p)]
