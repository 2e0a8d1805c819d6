from __future__ import annotations

import os
from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.serving import EmbeddedServer
from facekit.serving.relay import Relay
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


def test_relay_passes_lines_on_and_keeps_the_last(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    relay = Relay()
    handle = os.dup(relay.fileno())
    relay.started()
    os.write(handle, b"one\ntw")
    os.write(handle, b"o\nthree")
    os.close(handle)
    relay.finish()

    assert relay.tail(2) == ["two", "three"]
    assert relay.tail(0) == []
    assert capfdbinary.readouterr().err == b"one\ntwo\nthree\n"


def test_relay_with_a_closed_standard_error_goes_on_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed:
        @property
        def buffer(self) -> Closed:
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr("sys.stderr", Closed())
    relay = Relay()
    handle = os.dup(relay.fileno())
    relay.started()
    for _ in range(3):
        os.write(handle, b"x" * 65536 + b"\n")
    os.close(handle)

    assert wait_for(lambda: len(relay.tail(9)) == 3)


def test_server_logs_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServer(tiny_repository(tmp_path / "models"), log_file="-") as server:
        assert any("Started HTTPService" in line for line in server.log_tail())

    assert "Started HTTPService" in capfd.readouterr().err


def test_server_that_logs_to_standard_error_tells_why_it_failed(tmp_path: Path) -> None:
    repository = tiny_repository(tmp_path / "models")
    (repository / "faces" / "broken").touch()

    with (
        pytest.raises(SetupError, match="the label file has 3 lines, expected 1"),
        EmbeddedServer(repository, log_file="-"),
    ):
        pass
