from __future__ import annotations

import io
import sys

import pytest

from facekit import progress
from facekit.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()  # not in a fixture: pytest's capturing would take its place again
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize("total", [0, 1, 50])
def test_bar_writes_nothing_where_there_is_no_terminal(
    total: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressBar(total, "photos") as bar:
        for _ in range(total):
            bar.advance()
        bar.line("nobody takes it")
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_is_drawn_in_place_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with ProgressBar(3, "photos", say=terminal.write) as bar:
        bar.advance()
        bar.advance(failed=True)
        bar.line("a server is away\n")
        bar.advance(note="4 faces")
    written = terminal.getvalue()
    assert "0/3" in written and " photos" in written and "1 failed, 4 faces" not in written
    before, after = written.split("a server is away\n")
    assert before.endswith("\r") and "2/3" in after and "1 failed" in after
    assert written.rsplit("\r", 2)[1].strip() == "" and written.endswith("\r")


def test_bar_of_bytes_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with ProgressBar(4_000_000, "model.etlt", already=1_000_000, of_bytes=True):
        pass
    assert "model.etlt:  25%" in terminal.getvalue() and "1.00M/4.00M" in terminal.getvalue()


def test_without_tqdm_a_terminal_gets_lines_of_status(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress, "STATUS_INTERVAL_S", 0.0)
    said: list[str] = []
    with ProgressBar(2, "photos", say=said.append) as bar:
        bar.advance()
    assert terminal.getvalue() == "" and said[0].startswith("1/2 photos  ")


def test_status_says_count_rate_and_time_left() -> None:
    bar = ProgressBar(120, "photos", already=20)
    assert bar.status(0) == "20/120 photos  0.0/s"
    for number in range(30):
        bar.advance(failed=number < 2, note="3 faces")
    assert bar.status(15.0) == "50/120 photos  2.0/s  0:00:35 left  2 failed  3 faces"


def test_status_of_bytes() -> None:
    bar = ProgressBar(4_000_000, "model.etlt", already=1_000_000, of_bytes=True)
    bar.advance(1_000_000)
    assert bar.status(10.0) == "model.etlt: 2.0 MB of 4.0 MB  100.0 kB/s  0:00:20 left"
    unknown = ProgressBar(None, "model.etlt", of_bytes=True)
    unknown.advance(500)
    assert unknown.status(1.0) == "model.etlt: 500 B  500 B/s"


def test_status_is_said_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "STATUS_INTERVAL_S", 3600.0)
    said: list[str] = []
    with ProgressBar(9, "photos", say=said.append) as bar:
        bar.advance()
        monkeypatch.setattr(progress, "STATUS_INTERVAL_S", 0.0)
        bar.advance()
    assert len(said) == 1 and said[0].startswith("2/9 photos  ")
