"""A line that says how far a run has come, its rate and the time left."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_INTERVAL_S = 0.1
_LINE_INTERVAL_S = 10.0
_BAR_WIDTH = 24


class ProgressBar:
    """A bar that is redrawn in place; nothing at all is written where there is no terminal.

    Args:
        total: How many items there will be.
        noun: What an item is called, in the plural.
        stream: Where to draw; standard error when left out.
        enabled: Whether to draw; by default when ``stream`` is a terminal.
        already: How many items an earlier run has done; the rate is of this one.
    """

    def __init__(
        self,
        total: int,
        noun: str,
        stream: TextIO | None = None,
        *,
        enabled: bool | None = None,
        already: int = 0,
    ) -> None:
        self._total, self._noun = total, noun
        self._stream = sys.stderr if stream is None else stream
        self._enabled = self._stream.isatty() if enabled is None else enabled
        self._done = self._already = already
        self._failed, self._note = 0, ""
        self._start = time.monotonic()
        unicode = (self._stream.encoding or "utf-8").lower().startswith("utf")
        self._full, self._hollow = ("█", "░") if unicode else ("#", ".")
        self._drawn_at = float("-inf")

    def advance(self, count: int = 1, *, failed: bool = False, note: str | None = None) -> None:
        """Count so many items more; a note, such as a loss, stands behind the bar from then on."""
        self._done += count
        self._failed += failed
        self._note = self._note if note is None else note
        now = time.monotonic()
        if self._enabled and (now - self._drawn_at >= _INTERVAL_S or self._done == self._total):
            self._drawn_at = now
            self._draw(self.text(now - self._start))

    def text(self, elapsed_s: float) -> str:
        """Return the line as it is after so many seconds."""
        share = self._done / self._total if self._total else 1.0
        bar = (self._full * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, self._hollow)
        rate = (self._done - self._already) / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{bar} {self._done}/{self._total} {self._noun}", f"{rate:.1f}/s"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if rate > 0:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        if self._note:
            parts.append(self._note)
        return "  ".join(parts)

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width))
        self._stream.flush()

    def __enter__(self) -> ProgressBar:
        if self._enabled:
            self._draw(self.text(0))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._enabled:
            # The line makes room for what is printed next.
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()


class TransferBar(ProgressBar):
    """The bar of a download: bytes, and where there is no terminal a line now and then.

    Args:
        name: what is moved.
        total: its size in bytes; ``None`` if nobody says.
        already: how many bytes of it an earlier attempt left.
        say: takes a line where there is no terminal.
        stream: where to draw; standard error when left out.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        already: int,
        say: Callable[[str], None],
        stream: TextIO | None = None,
    ) -> None:
        super().__init__(total or 0, name, stream, already=already)
        self._known = total is not None
        self._say, self._said_at = say, self._start

    def advance(self, count: int = 1, *, failed: bool = False, note: str | None = None) -> None:
        """Count so many bytes more."""
        super().advance(count, failed=failed, note=note)
        now = time.monotonic()
        if not self._enabled and now - self._said_at >= _LINE_INTERVAL_S:
            self._said_at = now
            self._say(f"{self._noun}: {self._amounts(now - self._start)}")

    def text(self, elapsed_s: float) -> str:
        """Return the line as it is after so many seconds."""
        share = self._done / self._total if self._total else 0.0
        bar = (self._full * round(min(share, 1.0) * _BAR_WIDTH)).ljust(_BAR_WIDTH, self._hollow)
        return f"{bar} {self._noun}  {self._amounts(elapsed_s)}"

    def _amounts(self, elapsed_s: float) -> str:
        rate = (self._done - self._already) / elapsed_s if elapsed_s > 0 else 0.0
        size = f" of {byte_count(self._total)}" if self._known else ""
        parts = [f"{byte_count(self._done)}{size}", f"{byte_count(rate)}/s"]
        if rate > 0 and self._known:
            parts.append(f"{_clock(max(0.0, self._total - self._done) / rate)} left")
        return "  ".join(parts)


def byte_count(number: float) -> str:
    """Return a number of bytes for people.

    >>> byte_count(999), byte_count(5_510_000), byte_count(2_300_000_000)
    ('999 B', '5.5 MB', '2.3 GB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def _clock(seconds: float) -> str:
    """Return a time span as minutes and seconds, or hours, minutes and seconds.

    >>> _clock(65), _clock(3600)
    ('1:05', '1:00:00')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    tail = f"{whole % 60:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
