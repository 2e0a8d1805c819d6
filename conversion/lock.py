"""One converter a folder: a lock that its holder's death gives back."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from conversion import places
from conversion.atomic import Say
from conversion.errors import ConversionError, LockedError

LOCK_FILE = ".converter.lock"
_POLL_S = 0.5
_HEARTBEAT_S = 30.0
# What some network file systems answer.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def converter_lock(
    folder: Path, *, wait: bool, say: Say, heartbeat_s: float = _HEARTBEAT_S
) -> Iterator[None]:
    """Hold a folder for this converter.

    The kernel keeps the lock, not the file's presence: a converter that was killed holds nothing.
    The file stays, because deleting it would let two converters lock two files of one name.

    Args:
        folder: the model repository, or where engines are built.
        wait: whether to wait for the holder, with a word now and then, or to give up.
        say: takes the words.
        heartbeat_s: seconds between two words.

    Raises:
        LockedError: another converter holds it and ``wait`` is false; the message names it.
        ConversionError: the folder can't be written to.
    """
    handle = _open(folder)
    try:
        _acquire(handle, folder, wait, say, heartbeat_s)
        _write_holder(handle)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _open(folder: Path) -> int:
    if not folder.is_dir():
        raise ConversionError(f"{folder}: no such folder; --repository names the model one")
    try:
        # Not inherited by tools: one that outlived its converter must not keep the lock.
        return os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConversionError(places.refused(folder, error)) from error


def _acquire(handle: int, folder: Path, wait: bool, say: Say, heartbeat_s: float) -> None:
    start = time.monotonic()
    spoke: float | None = None
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            say(
                f"warning: {folder} is on a file system without locks ({error.strerror}): see that "
                "no other converter works there"
            )
            return
        now = time.monotonic()
        holder = _read_holder(handle)
        if not wait:
            raise LockedError(
                f"another converter works on {folder}: {holder}; wait for it, or leave out "
                "--no-wait"
            )
        if spoke is None or now - spoke >= heartbeat_s:
            spoke = now
            say(f"waiting for another converter: {holder}; {int(now - start)} s so far")
        time.sleep(_POLL_S)


def _write_holder(handle: int) -> None:
    holder = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(holder).encode() + b"\n", 0)


def _read_holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "one that has not said who it is"
