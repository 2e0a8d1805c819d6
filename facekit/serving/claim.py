"""Temporary folders that a later start takes away if nobody could: their owner was killed."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from facekit.shared_pages import PREFIX

SHM = Path("/dev/shm")
_LOCK_PREFIX = PREFIX
_FOLDER_PREFIX = "facekit-server-"


class Claim:
    """A new temporary folder, and a lock file that marks it as used while this process lives.

    The lock is written before the folder is made, so that no moment leaves a folder without one.
    A lock and not a process id, because containers may share /dev/shm and not their process ids.

    Args:
        parent: where the folder is made.
    """

    def __init__(self, parent: Path) -> None:
        self.folder = parent / f"{_FOLDER_PREFIX}{secrets.token_hex(6)}"
        self._handle, self._lock = _new_lock()
        self.shm_prefix = self._lock.stem
        try:
            os.write(self._handle, os.fsencode(self.folder))
            self.folder.mkdir(mode=0o700)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Delete the folder and what lies under ``shm_prefix`` in shared memory."""
        _remove(self.folder, self._lock)
        os.close(self._handle)


def remove_stale() -> None:
    """Remove what processes left behind that were killed before they could."""
    for lock in SHM.glob(f"{_LOCK_PREFIX}*.lock"):
        try:
            handle = os.open(lock, os.O_RDWR)
        except OSError:  # another user's, or gone meanwhile
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process is alive
            continue
        else:
            _remove(Path(os.fsdecode(os.read(handle, 4096))), lock)
        finally:
            os.close(handle)


def _new_lock() -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(prefix=_LOCK_PREFIX, suffix=".lock", dir=SHM)
        fcntl.flock(handle, fcntl.LOCK_EX)
        lock = Path(name)
        # Another process's `remove_stale` may have taken it for a dead one's before it was locked.
        try:
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle, lock
        except FileNotFoundError:
            pass
        os.close(handle)


def _remove(folder: Path, lock: Path) -> None:
    if folder.name.startswith(_FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    for path in SHM.glob(f"{lock.stem}*"):
        if path != lock:
            path.unlink(missing_ok=True)
    lock.unlink(missing_ok=True)
