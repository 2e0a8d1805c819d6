"""Writing what the trainers' commands leave behind: whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facekit.errors import DataError
from facekit.files import write_whole


def write_file(path: Path, data: bytes, before: str = "what was there before") -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; its folder is made where it is missing.
        data: All that it is to hold.
        before: What the error calls a file of that name that stays as it was.

    Raises:
        DataError: The file can't be written, for want of room or of leave.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise unwritable(path, error, before if _is_there(path) else "") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON.

    Raises:
        DataError: The file can't be written.
    """
    write_file(path, (json.dumps(value, indent=2) + "\n").encode())


def unwritable(path: Path, error: OSError, before: str = "") -> DataError:
    """Return the error of a file that can't be written.

    >>> str(unwritable(Path("a.pt"), OSError(28, "No space left on device"), "the last one"))
    'a.pt: cannot be written: No space left on device; the last one is whole'
    """
    more = f"; {before} is whole" if before else ""
    return DataError(path, f"cannot be written: {error.strerror or error}{more}")


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
