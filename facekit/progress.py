"""A line that says how far a run has come, its rate and the time left."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

_INTERVAL_S = 0.1
_BAR_WIDTH = 24


class ProgressBar:
    """A bar that is redrawn in place; nothing at all is written where there is no terminal.

    Args:
        total: How many items there will be.
        noun: What an item is called, in the plural.
        stream: Where to draw; standard error when left out.
        enabled: Whether to draw; by default when ``stream`` is a terminal.
    """

    def __init__(
        self, total: int, noun: str, stream: TextIO | None = None, *, enabled: bool | None = None
    ) -> None:
        self._total, self._noun = total, noun
        self._stream = sys.stderr if stream is None else stream
        self._enabled = self._stream.isatty() if enabled is None else enabled
        self._done = self._failed = 0
        self._start = time.monotonic()
        unicode = (self._stream.encoding or "utf-8").lower().startswith("utf")
        self._full, self._hollow = ("█", "░") if unicode else ("#", ".")
        self._drawn_at = float("-inf")

    def advance(self, *, failed: bool = False) -> None:
        """Count one item more."""
        self._done += 1
        self._failed += failed
        now = time.monotonic()
        if self._enabled and (now - self._drawn_at >= _INTERVAL_S or self._done == self._total):
            self._drawn_at = now
            self._draw(self.text(now - self._start))

    def text(self, elapsed_s: float) -> str:
        """Return the line as it is after so many seconds."""
        share = self._done / self._total if self._total else 1.0
        bar = (self._full * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, self._hollow)
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{bar} {self._done}/{self._total} {self._noun}", f"{rate:.1f}/s"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if rate > 0:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
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


def _clock(seconds: float) -> str:
    """Return a time span as minutes and seconds, or hours, minutes and seconds.

    >>> _clock(65), _clock(3600)
    ('1:05', '1:00:00')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    tail = f"{whole % 60:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"
