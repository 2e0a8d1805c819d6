"""One converter per folder: a lock that the operating system releases when its holder dies."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from conversion.errors import ConversionError, LockedError
from conversion.paths import Say, not_writable
from facekit.files import NO_LOCKS, lock_file

LOCK_FILE = ".converter.lock"
_POLL_S = 0.1
_STATUS_S = 30.0


@contextmanager
def converter_lock(
    folder: Path, *, wait: bool, say: Say, status_s: float = _STATUS_S
) -> Iterator[None]:
    """Hold a folder for this converter.

    The file stays, because deleting it would let two converters lock two files of one name. With
    ``wait`` the holder is waited for, with a status line every ``status_s`` seconds; without,
    LockedError names it. Raises ConversionError if the folder can't be written to.
    """
    try:
        handle = _acquire(folder / LOCK_FILE, wait, say, status_s)
    except OSError as error:
        raise ConversionError(not_writable(folder, error)) from error
    try:
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        os.ftruncate(handle, 0)
        # On a full disk it does not say whose it is, and is the lock all the same.
        with contextlib.suppress(OSError):
            os.pwrite(handle, holder.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _acquire(path: Path, wait: bool, say: Say, status_s: float) -> int:
    start = time.monotonic()
    told: float | None = None
    while True:
        try:
            return lock_file(path)
        except BlockingIOError:
            holder = path.read_text("utf-8", "replace") or "one that has not written its name"
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say(
                f"warning: {path.parent} is on a file system without locks ({error.strerror}): "
                "make sure that no other converter works there"
            )
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not wait:
            raise LockedError(
                f"another converter works on {path.parent}: {holder}; wait for it, or leave out "
                "--no-wait"
            )
        now = time.monotonic()
        if told is None or now - told >= status_s:
            told = now
            say(
                f"waiting for another converter on {path.parent}: {holder}; "
                f"{int(now - start)} s so far"
            )
        time.sleep(_POLL_S)
