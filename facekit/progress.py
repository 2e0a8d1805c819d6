"""Progress of long work: a bar on a terminal, otherwise a periodic status line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from facekit.closing import Closing
from facekit.text import byte_count

STATUS_INTERVAL_S = 10.0
"""Seconds between two status lines where no bar is drawn."""


class ProgressBar(Closing):
    """A bar of tqdm on standard error, cleared at the end, with rate and time left.

    Nothing is drawn where standard error is not a terminal, or tqdm is not installed.

    Args:
        total: Number of items; None if unknown.
        noun: Name of the items, in the plural; for bytes the name of the file.
        already: Number of items that an earlier run has done; they do not count for the rate.
        of_bytes: Whether the items are bytes.
        say: Called with a status line every ``STATUS_INTERVAL_S`` where no bar is drawn.
        enabled: Whether to draw; by default if standard error is a terminal.
    """

    def __init__(
        self,
        total: int | None,
        noun: str,
        *,
        already: int = 0,
        of_bytes: bool = False,
        say: Callable[[str], None] | None = None,
        enabled: bool | None = None,
    ) -> None:
        self._total, self._noun, self._of_bytes = total, noun, of_bytes
        self._done = self._already = already
        self._failed, self._note, self._say = 0, "", say
        self._start = self._said_at = time.monotonic()
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        self._start = self._said_at = time.monotonic()
        self._bar = self._make_bar() if self._enabled else None
        return self

    def advance(self, count: int = 1, *, failed: bool = False, note: str | None = None) -> None:
        """Count items; a note, such as a loss, is shown after the bar from then on."""
        self._done += count
        self._failed += failed
        self._note = self._note if note is None else note
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(self._remarks()), refresh=False)
            self._bar.update(count)
        elif self._say is not None and time.monotonic() - self._said_at >= STATUS_INTERVAL_S:
            self._said_at = time.monotonic()
            self._say(self.status(self._said_at - self._start))

    def status(self, elapsed_s: float) -> str:
        """Return the status line after so many seconds."""
        rate = (self._done - self._already) / elapsed_s if elapsed_s > 0 else 0.0
        done, total = self._done, self._total
        if self._of_bytes:
            size = "" if total is None else f" of {byte_count(total)}"
            parts = [f"{self._noun}: {byte_count(done)}{size}", f"{byte_count(rate)}/s"]
        else:
            number = f"{done}" if total is None else f"{done}/{total}"
            parts = [f"{number} {self._noun}", f"{rate:.1f}/s"]
        if rate > 0 and total is not None:
            minutes, seconds = divmod(round(max(0, total - done) / rate), 60)
            hours, minutes = divmod(minutes, 60)
            parts.append(f"{hours}:{minutes:02d}:{seconds:02d} left")
        return "  ".join([*parts, *self._remarks()])

    def line(self, text: str) -> None:
        """Pass a line to ``say`` while the bar is cleared."""
        if self._say is None:
            return
        if self._bar is not None:
            self._bar.clear()
        self._say(text)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.close()

    def _remarks(self) -> list[str]:
        return [*([f"{self._failed} failed"] if self._failed else []), *filter(None, [self._note])]

    def _make_bar(self) -> Any:
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:
            return None
        tqdm.monitor_interval = 0  # no thread that redraws an idle bar
        return tqdm(
            desc=self._noun if self._of_bytes else None,
            total=self._total,
            initial=self._already,
            unit="B" if self._of_bytes else f" {self._noun}",
            unit_scale=self._of_bytes,
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
        )
