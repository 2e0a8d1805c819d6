"""How patient a download is, and what may pass by itself."""

from __future__ import annotations

from dataclasses import dataclass


class Setback(Exception):  # noqa: N818 - it becomes a FetchError only when patience ends
    """What may pass by itself.

    Args:
        said: what happened, for people.
        wait_s: how long the server asks to be left alone, seconds.
        remedy: what a person can do about it, if patience does not help.
    """

    def __init__(self, said: str, wait_s: float | None = None, remedy: str = "") -> None:
        super().__init__(said)
        self.wait_s, self.remedy = wait_s, remedy


@dataclass(frozen=True)
class Policy:
    """How patient a download is.

    Attributes:
        attempts: how many in a row may bring no byte that was not there before.
        backoff_s: the pause after the first of them, seconds; it doubles each time.
        backoff_limit_s: the longest pause of the kit's own choice, seconds.
        retry_after_limit_s: the longest that a server may ask for, seconds.
        connect_timeout_s: for a connection, seconds.
        read_timeout_s: without a single byte, seconds; a slow trickle is let go on.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    backoff_limit_s: float = 30.0
    retry_after_limit_s: float = 120.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0

    def pause_s(self, failures: int, asked_s: float | None) -> float:
        """Return how long to wait after so many failures in a row, seconds.

        >>> [Policy().pause_s(failures, None) for failures in (1, 2, 3, 9)]
        [1.0, 2.0, 4.0, 30.0]
        >>> Policy().pause_s(1, 3600.0)
        120.0
        """
        if asked_s is not None:
            return min(asked_s, self.retry_after_limit_s)
        return float(min(self.backoff_s * 2 ** (failures - 1), self.backoff_limit_s))
