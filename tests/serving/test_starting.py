"""A start that can't succeed any more ends with the reason, and does not wait for its time."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.serving import EmbeddedServer, embedded, processes, starting
from facekit.serving.installation import find_installation
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tiny_repository(tmp_path / "models")


def begin_model(repository: Path, code: str) -> None:
    """Make the model's backend process run this first."""
    model = repository / "faces" / "1" / "model.py"
    model.write_text(f"{code}\n{model.read_text('utf-8')}", "utf-8")


def reason(server: EmbeddedServer) -> str:
    with pytest.raises(SetupError) as caught:
        server.wait_ready()
    assert server.pid is None
    return str(caught.value)


def test_start_whose_backend_process_ends_says_which_and_how(repository: Path) -> None:
    begin_model(repository, "import os; os._exit(3)")
    server = EmbeddedServer(repository)
    server.start()

    how = "ended with exit code 3"
    assert reason(server) == f"The backend process of faces_0_0 {how} at the server's start."


def test_exit_reason_of_a_crash_names_the_signal() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-S", "-c", code])
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)

    assert starting.exit_reason(child) == "was ended by SIGSEGV"
    os.waitpid(child, 0)


def test_start_whose_backend_process_is_killed_asks_about_memory(repository: Path) -> None:
    begin_model(repository, "import time; time.sleep(60)")
    server = EmbeddedServer(repository)
    server.start()
    assert server.pid is not None
    pid = server.pid

    def stubs() -> list[int]:
        children = [child.pid for child in processes.children(pid)]
        return [child for child in children if processes.model_instance(child) == "faces_0_0"]

    assert wait_for(lambda: bool(stubs()))
    os.kill(stubs()[0], signal.SIGKILL)

    assert "of faces_0_0 was ended by SIGKILL (is there enough memory?)" in reason(server)


def test_start_whose_backend_program_does_not_run_quotes_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "error while loading shared libraries: libpython3.so.1.0: no such file"
    stub = tmp_path / "triton_python_backend_stub"
    stub.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 127\n", "utf-8")
    found = replace(find_installation(), stub=stub)
    monkeypatch.setattr(embedded, "find_installation", lambda: found)
    server = EmbeddedServer(repository)
    server.start()

    text = reason(server)

    assert text.startswith("The backend process of faces_0_0 ended with exit code 127 at")
    assert text.splitlines()[1:] == [f"  {words}"]
