from __future__ import annotations

import os
from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.serving import EmbeddedServer
from facekit.serving.log import LogPipe
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


def test_pipe_passes_lines_on_and_keeps_the_last(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    pipe = LogPipe()
    handle = os.dup(pipe.writer)
    pipe.close_writer()
    os.write(handle, b"one\ntw")
    os.write(handle, b"o\nthree")
    os.close(handle)
    pipe.finish()

    assert pipe.tail(2) == ["two", "three"]
    assert pipe.tail(0) == []
    assert capfdbinary.readouterr().err == b"one\ntwo\nthree\n"


def test_pipe_with_a_closed_standard_error_goes_on_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed:
        @property
        def buffer(self) -> Closed:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr("sys.stderr", Closed())
    pipe = LogPipe()
    handle = os.dup(pipe.writer)
    pipe.close_writer()
    for _ in range(3):
        os.write(handle, b"x" * 65536 + b"\n")
    os.close(handle)

    assert wait_for(lambda: len(pipe.tail(9)) == 3)


def test_server_logs_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer(tiny_repository(tmp_path / "models"), log_file="-") as server:
        assert any("Started GRPCInferenceService" in line for line in server.log_tail())

    assert "Started GRPCInferenceService" in capfd.readouterr().err


def test_server_that_logs_to_standard_error_tells_why_it_failed(tmp_path: Path) -> None:
    repository = tiny_repository(tmp_path / "models")
    (repository / "faces" / "broken").touch()

    with (
        pytest.raises(SetupError, match="the label file has 3 lines, expected 1"),
        EmbeddedServer(repository, log_file="-"),
    ):
        pass
