"""Passes the server's log on to this process's own, and keeps its last lines."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque

_KEPT_LINES = 2000
_CHUNK = 65536


class Relay:
    """The end of a pipe that a server writes its log to; a thread copies it to standard error.

    The server can't be given standard error itself: why a start failed stands in these lines.
    """

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._copy, args=(reader,), name="facekit-log", daemon=True
        )
        self._thread.start()

    def fileno(self) -> int:
        """Return what the server writes to."""
        return self._writer

    def started(self) -> None:
        """Close this process's own end: from now on the log ends with its last writer."""
        os.close(self._writer)

    def finish(self) -> None:
        """Wait for the last lines of a server that has ended."""
        self._thread.join(timeout=1)

    def tail(self, lines: int) -> list[str]:
        """Return the last lines of the log."""
        with self._lock:
            kept = list(self._lines)
        return kept[-lines:] if lines > 0 else []

    def _copy(self, reader: int) -> None:
        rest = b""
        with os.fdopen(reader, "rb", buffering=0) as source:
            while chunk := source.read(_CHUNK):
                *whole, rest = (rest + chunk).split(b"\n")
                self._pass_on(whole)
        self._pass_on([rest] if rest else [])

    def _pass_on(self, lines: list[bytes]) -> None:
        if not lines:
            return
        with self._lock:
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
        try:
            # Whole lines, so that they don't mix with this process's own.
            sys.stderr.buffer.write(b"".join(line + b"\n" for line in lines))
            sys.stderr.buffer.flush()
        except (OSError, ValueError):
            # Who closed it does not stop the service, and the pipe must go on being read.
            pass
