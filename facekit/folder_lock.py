"""A lock on a folder that two runs must not fill at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from facekit.errors import DataError

LOCK_FILE = ".lock"
_handles: set[int] = set()
"""Of the locks that this process holds."""


def _drop_in_child() -> None:
    """Close what a fork took along: a worker that outlives its parent must not keep the lock."""
    for handle in _handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _handles.clear()


os.register_at_fork(after_in_child=_drop_in_child)


class FolderLock:
    """Held by one process at a time, and by none that is dead.

    It is a lock of the operating system on a file that says whose it is; a killed process loses it,
    and the file that it leaves is in nobody's way.

    Args:
        folder: A folder that is there when the lock is acquired.
        name: Of the lock's file, where several may fill the folder with different things.
    """

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self._folder = folder
        self._path = folder / name
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DataError: Another process has it, which is named; or the folder can't be written to.
        """
        try:
            while True:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Its last holder may have removed the file before it was locked here.
                    if os.path.samestat(os.fstat(handle), self._path.stat()):
                        break
                except BlockingIOError:
                    holder = os.read(handle, 300).decode("utf-8", "replace").strip()
                    os.close(handle)
                    reason = f"is being filled by {holder or 'another process'}; wait for its end"
                    raise DataError(self._folder, reason) from None
                except FileNotFoundError:
                    pass
                except BaseException:
                    os.close(handle)
                    raise
                os.close(handle)
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            raise DataError(self._path, f"cannot be locked: {error.strerror or error}") from error
        self._handle = handle
        _handles.add(handle)

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._handle not in _handles:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        _handles.discard(self._handle)
        os.close(self._handle)
        self._handle = None


@contextlib.contextmanager
def filling(folder: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Make a folder where it is missing, and hold its lock, as :class:`FolderLock` does.

    Raises:
        DataError: The folder can't be made or written to, or another process is filling it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot be made a folder: {error.strerror or error}"
        raise DataError(folder, reason) from error
    lock = FolderLock(folder, name)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
