"""Files that are written as a stream, and are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from facekit.errors import DataError

OUTPUT_MARK = ".facekit-output"
"""A file that says of its folder that the pictures in it are the kit's own work, no photos."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it takes the place of what was there when the block ends well.

    The bytes go to a hidden file beside it, which is synced to the disk and then renamed. What a
    killed process left of that file is written over by the next one. A link is followed; a device
    or a pipe is written to, never replaced.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        DataError: It can't be written, such as on a full disk, or another process is writing it;
            what was there before is as it was.
    """
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f".{target.name}.part")
    try:
        if target.is_dir():
            raise DataError(path, "is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(partial, path) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(target)
            finally:
                # Still locked: the name can't be another process's file.
                partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except OSError as error:
        if error.filename not in (None, str(partial), str(target), str(target.parent)):
            raise  # of a file that the block reads
        raise DataError(path, _reason(error)) from error


@contextmanager
def scratch_file(path: Path) -> Iterator[BinaryIO]:
    """Open a nameless file for a part of ``path`` that has to wait; on the same disk."""
    beside = path.is_file() or not path.exists()
    with tempfile.TemporaryFile(dir=path.resolve().parent if beside else None) as file:
        yield file


def _reason(error: OSError) -> str:
    remedy = "free some space and run the same command again; " if error.errno in _FULL else ""
    return (
        f"cannot be written: {error.strerror or error}; {remedy}what was there before is as it was"
    )


@contextmanager
def _locked(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """Open the hidden file for this process alone, and empty it."""
    while True:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # Unbuffered would be a system call an entry; the buffer is flushed by who syncs it.
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(path, "another process is writing it; wait for its end") from None
            # Its last holder may have renamed or removed the file before it was locked here.
            if not (partial.exists() and os.path.samestat(os.fstat(handle), partial.stat())):
                continue
            os.ftruncate(handle, 0)
            yield file
            return


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)
