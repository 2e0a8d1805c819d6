"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


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
