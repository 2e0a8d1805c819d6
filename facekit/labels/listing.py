"""The files of a folder, by suffix."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from facekit.errors import DataError


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return a folder's files with one of some suffixes, in order of their names.

    Hidden files and subfolders are left out.

    Args:
        folder: Where to look.
        suffixes: In lower case, each with its dot; the files' may be in any case.

    Raises:
        DataError: The folder is missing, is a file, or can't be listed.
    """
    try:
        return sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
        )
    except FileNotFoundError:
        raise DataError(folder, "no such folder") from None
    except NotADirectoryError:
        raise DataError(folder, "is no folder") from None
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror or error}") from error
