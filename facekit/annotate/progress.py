"""How far a run over a folder has come: a bar, or a line now and then where no terminal is."""

from __future__ import annotations

import time

from facekit.annotate.servers import Say
from facekit.annotations.record import PhotoRecord
from facekit.progress import ProgressBar

_LINE_INTERVAL_S = 10.0


class RunProgress(ProgressBar):
    """The bar of a run, drawn on standard error.

    Args:
        total: How many photos there are to look at.
        say: Takes a line where there is no terminal; None for no bar and no line.
    """

    def __init__(self, total: int, say: Say | None) -> None:
        super().__init__(total, "photos", enabled=False if say is None else None)
        self._say, self._said_at, self._faces = say, self._start, 0

    def __enter__(self) -> RunProgress:
        self._start = self._said_at = time.monotonic()  # a server may have been started meanwhile
        super().__enter__()
        return self

    def line(self, text: str) -> None:
        """Say a line, in place of the bar, which is drawn below it next."""
        if self._say is None:
            return
        if self._drawn_at > 0:
            self._draw("")
            self._stream.write("\r")
        self._say(text)

    def count(self, record: PhotoRecord) -> None:
        """Count one photo more."""
        self._faces += 0 if record.faces is None else len(record.faces)
        self.advance(failed=record.faces is None, note=f"{self._faces:,} faces")
        now = time.monotonic()
        if self._say and not self._enabled and now - self._said_at >= _LINE_INTERVAL_S:
            self._said_at = now
            bar_and_numbers = self.text(now - self._start)
            self._say(bar_and_numbers.lstrip(self._full + self._hollow + " "))
