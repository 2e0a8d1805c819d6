"""Writing a file whole or not at all, and where SQLite can have one."""

from __future__ import annotations

import os
from pathlib import Path

from facekit.errors import ConfigError

# SQLite takes paths of 512 bytes, and names the files beside its own with up to 8 more.
_SQLITE_LONGEST = 504


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    A link is followed; a device or a pipe is written to, never replaced.

    Args:
        path: The file; its folder is made where it is missing.
        data: All that it is to hold.

    Raises:
        OSError: The file can't be written; what was there before is as it was.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_sqlite_path(path: Path) -> None:
    """Check that SQLite can open a file with this path, relative ones by their absolute path.

    Raises:
        ConfigError: The path is too long.
    """
    length = len(os.fsencode(path.absolute()))
    if length > _SQLITE_LONGEST:
        raise ConfigError(
            f"{path}: its path has {length} bytes, and SQLite, which keeps this file, takes "
            f"{_SQLITE_LONGEST}: choose a shorter one"
        )
