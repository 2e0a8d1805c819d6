from __future__ import annotations

import io
import itertools

import pytest

from facekit import progress
from facekit.progress import TransferBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_transfer_says_amount_rate_and_time_left() -> None:
    bar = TransferBar("model.etlt", 4_000_000, 1_000_000, print, io.StringIO())
    bar.advance(1_000_000)
    expected = "█" * 12 + "░" * 12 + " model.etlt  2.0 MB of 4.0 MB  100.0 kB/s  0:20 left"
    assert bar.text(10.0) == expected


def test_transfer_of_a_length_nobody_tells_says_what_came() -> None:
    bar = TransferBar("model.etlt", None, 0, print, io.StringIO())
    bar.advance(500)
    assert bar.text(1.0) == "░" * 24 + " model.etlt  500 B  500 B/s"


def test_transfer_on_a_terminal_is_drawn_and_says_no_line() -> None:
    said: list[str] = []
    stream = Terminal()
    with TransferBar("model.etlt", 10, 0, said.append, stream) as bar:
        bar.advance(10)
    assert "10 B of 10 B" in stream.getvalue() and said == []


def test_transfer_without_a_terminal_says_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The clock moves by three seconds with every look at it.
    clock = itertools.count(0, 3)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    with TransferBar("model.etlt", 100, 0, said.append, io.StringIO()) as bar:
        for _ in range(10):
            bar.advance(10)
    assert len(said) == 5 and said[0].startswith("model.etlt: 20 B of 100 B  ")
