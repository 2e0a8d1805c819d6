"""The error every data reader raises."""

from __future__ import annotations

from pathlib import Path


class DataError(Exception):
    """A data file is missing or cannot be used.

    Attributes:
        path: The file or folder at fault.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Make the message ``<path>: <reason>``."""
        super().__init__(f"{path}: {reason}")
        self.path = path
