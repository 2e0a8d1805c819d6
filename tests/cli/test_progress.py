from __future__ import annotations

import io

import pytest

from facekit.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [0, 1, 50])
def test_bar_writes_nothing_where_there_is_no_terminal(total: int) -> None:
    stream = io.StringIO()
    with ProgressBar(total, "photos", stream) as bar:
        for _ in range(total):
            bar.advance()
    assert stream.getvalue() == ""


def test_bar_on_a_terminal_is_drawn_in_place_and_cleared() -> None:
    stream = Terminal()
    with ProgressBar(3, "photos", stream) as bar:
        bar.advance()
        bar.advance(failed=True)
        bar.advance()
    written = stream.getvalue()
    assert "3/3 photos" in written and "1 failed" in written and "\n" not in written
    assert written.rsplit("\r", 2)[1].strip() == "" and written.endswith("\r")


def test_text_says_count_rate_and_time_left() -> None:
    bar = ProgressBar(120, "photos", io.StringIO())
    assert bar.text(0).endswith("0/120 photos  0.0/s")
    for number in range(30):
        bar.advance(failed=number < 2)
    assert bar.text(15.0) == "█" * 6 + "░" * 18 + " 30/120 photos  2.0/s  2 failed  0:45 left"


def test_text_of_no_items_is_done() -> None:
    assert ProgressBar(0, "photos", io.StringIO()).text(1.0).startswith("█" * 24 + " 0/0")


def test_text_where_only_ascii_can_be_shown() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    bar = ProgressBar(2, "photos", stream)
    bar.advance()
    assert bar.text(1.0).startswith("#" * 12 + "." * 12 + " 1/2 photos")
