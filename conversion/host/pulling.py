"""A line now and then that says how far a pull has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_EVERY_S = 10.0
_GB = 1e9


class PullProgress:
    """Adds up the layers' progress, which the engine tells one by one.

    Args:
        say: takes a line.
        clock: seconds, growing.
    """

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._clock = say, clock
        self._sizes: dict[str, tuple[int, int]] = {}
        self._unpacked: set[str] = set()
        self._start = self._said_at = clock()

    def update(self, event: dict[str, Any]) -> None:
        """Take one event of the engine; say a line if the last one is a while ago."""
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._sizes[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in ("Download complete", "Extracting") and layer in self._sizes:
            total = self._sizes[layer][1]
            self._sizes[layer] = (total, total)
        elif status == "Pull complete":
            self._unpacked.add(layer)
        now = self._clock()
        if now - self._said_at >= _EVERY_S:
            self._said_at = now
            self._say(f"  {self.text(now - self._start)}")

    def text(self, elapsed_s: float) -> str:
        """Return the line as it is after so many seconds."""
        done = sum(current for current, _ in self._sizes.values())
        total = sum(size for _, size in self._sizes.values())
        parts = [f"{done / _GB:.1f} of {total / _GB:.1f} GB fetched"]
        if elapsed_s > 0:
            parts.append(f"{done / 1e6 / elapsed_s:.1f} MB/s")
        parts.append(f"{len(self._unpacked)} layers unpacked")
        return ", ".join(parts)
