"""How far a run has come, on a terminal and without one."""

from __future__ import annotations

import io
import re

import pytest

from facekit.annotate.progress import RunProgress
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


STAMP = FileStamp(1, 1)
FAILED = PhotoRecord("a.jpg", STAMP, error="cut")
FOUND = PhotoRecord("b.jpg", STAMP, Faces.empty((3, 4)))


def test_a_terminal_gets_a_bar_and_lines_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with RunProgress(2, lambda line: print(line, file=terminal)) as progress:  # noqa: T201
        progress.count(FAILED)
        progress.line("a server is away")
        progress.count(FOUND)
    shown = terminal.getvalue()
    before, after = shown.split("a server is away\n")
    assert before.endswith(" \r") and re.search(r"1/2 .*1 failed, 0 faces", after)
    assert shown.endswith(" \r")


def test_without_a_terminal_a_periodic_status_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facekit.progress.STATUS_INTERVAL_S", 0.0)
    said: list[str] = []
    with RunProgress(2, said.append) as progress:
        progress.count(FAILED)
    (line,) = said
    assert re.fullmatch(r"1/2 photos  [\d.]+/s  0:00:\d\d left  1 failed  0 faces", line)


def test_silence_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with RunProgress(1, None) as progress:
        progress.count(FOUND)
        progress.line("a server is away")
    assert terminal.getvalue() == ""
