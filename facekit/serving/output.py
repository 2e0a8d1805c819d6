"""Where a server's log goes: a file, a temporary file, or standard error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from facekit.errors import SetupError
from facekit.serving import log
from facekit.serving.relay import Relay

STANDARD_ERROR = "-"
"""The ``log_file`` that is this process's standard error, as containers want it."""

_KEPT_LINES = 2000
_T = TypeVar("_T")


class Output:
    """The log of a server's runs.

    Args:
        log_file: gets it, appended; ``-`` is standard error; ``None`` a temporary file.
    """

    def __init__(self, log_file: str | os.PathLike[str] | None) -> None:
        self._relays = log_file is not None and os.fspath(log_file) == STANDARD_ERROR
        named = log_file is not None and not self._relays
        self.file = Path(log_file or "").absolute() if named else None
        self._temporary: Path | None = None
        self._relay: Relay | None = None
        self._last: list[str] = []

    def begin(self, temporary: Path, start: Callable[[int], _T]) -> _T:
        """Start a run, which ends with ``end``.

        Args:
            temporary: the log's file where none was named.
            start: starts the server with this file descriptor as its output.

        Raises:
            SetupError: the log can't be written.
        """
        self._temporary = temporary
        if self._relays:
            self._relay = Relay()
            try:
                return start(self._relay.fileno())
            finally:
                self._relay.started()
        path = self.file or temporary
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("ab")
        except OSError as error:
            raise SetupError(f"Cannot write the log {path}: {error.strerror}.") from error
        with handle:
            return start(handle.fileno())

    def tail(self, lines: int) -> list[str]:
        """Return the last lines, of this run or of the last."""
        if self._relay is not None:
            return self._relay.tail(lines)
        path = self.file or self._temporary
        return log.tail(path, lines) if path is not None else self._last[-lines:]

    def finish(self) -> None:
        """Wait for the last lines of a server that has ended by itself."""
        if self._relay is not None:
            self._relay.finish()

    def end(self) -> None:
        """End a run; its last lines stay readable."""
        self._last = self.tail(_KEPT_LINES)
        self._relay = None
        self._temporary = None
