"""How many requests a gateway has seen, and why it refused some."""

import time
from collections import Counter, deque
from datetime import datetime, timezone
from typing import Any

_WINDOW_S = 10.0


class Counts:
    """Counts of one gateway process since its start."""

    def __init__(self) -> None:
        self.since = datetime.now(timezone.utc)
        self.total = 0
        self.in_flight = 0
        self.refused: Counter[str] = Counter()
        self._recent: deque[float] = deque()

    def begin(self) -> None:
        """Count a request that has come."""
        self.total += 1
        self.in_flight += 1
        self._recent.append(time.monotonic())
        self._forget()

    def end(self) -> None:
        """Count a request that was answered, or whose caller has gone."""
        self.in_flight -= 1

    def refuse(self, reason: str) -> None:
        """Count a request that was refused."""
        self.refused[reason] += 1

    def per_s(self) -> float:
        """Return the requests a second of the last ten seconds."""
        self._forget()
        return len(self._recent) / _WINDOW_S

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "total": self.total,
            "per_s": round(self.per_s(), 1),
            "in_flight": self.in_flight,
        }

    def _forget(self) -> None:
        oldest = time.monotonic() - _WINDOW_S
        while self._recent and self._recent[0] < oldest:
            self._recent.popleft()
