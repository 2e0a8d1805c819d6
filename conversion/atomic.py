"""Files that appear in their place in one step, and what to do when a file system refuses them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from conversion.catalog import RemoteFile
from conversion.errors import FetchError
from facekit.engines.manifest import sha256_of
from facekit.progress import byte_count

Say = Callable[[str], None]
"""Takes a line for people."""


def mismatch(path: Path, expected: RemoteFile) -> str | None:
    """Return what is wrong with a file, or ``None`` if it is what is expected, as far as known."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"it has {size} bytes, expected {expected.size}"
    if size == 0:
        return "it is empty"
    if expected.sha256 is not None:
        digest = sha256_of(path)
        if digest != expected.sha256.lower():
            return f"its SHA-256 is {digest}, expected {expected.sha256.lower()}"
    return None


def publish(part: Path, target: Path, mode: int) -> None:
    """Move a complete file to its place, so that not even a loss of power leaves half of it.

    Raises:
        OSError: of the file system.
    """
    part.chmod(mode)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def writing(target: Path, error: Callable[[str, str], FetchError]) -> Iterator[None]:
    """Turn what a file system refuses into the error that says what to do.

    Args:
        target: the file that shall come to be.
        error: makes the error of what happened and what to do.
    """
    try:
        yield
    except OSError as problem:
        said = f"{target} can't be written: {problem.strerror or problem}"
        raise error(said, _remedy(_nearest_folder(target), problem.errno)) from problem


def _nearest_folder(target: Path) -> Path:
    """Return the innermost folder on the way to a file that exists and may be looked at."""
    for folder in target.parents:
        with contextlib.suppress(OSError):
            if folder.exists():
                return folder
    return Path(target.anchor or ".")


def _remedy(folder: Path, number: int | None) -> str:
    other = "give another --weights-dir (FACEKIT_WEIGHTS_DIR)"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{byte_count(shutil.disk_usage(folder).free)} are free there: make room, or {other}"
    if number in (errno.EACCES, errno.EPERM):
        owner, uid, gid = folder.stat(), os.getuid(), os.getgid()
        said = f"This runs as user {uid}:{gid}, and {folder} is {owner.st_uid}:{owner.st_gid}'s"
        if owner.st_uid == 0:
            return f"{said}: give the folder to that user (chown -R {uid}:{gid}), or {other}"
        return (
            f"{said}: set FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid} in .env, or "
            f"{other}"
        )
    if number == errno.EROFS:
        return f"{folder} is mounted read-only: mount it writable, or {other}"
    return other[0].upper() + other[1:]


@contextlib.contextmanager
def folder_lock(folder: Path, say: Say) -> Iterator[None]:
    """Keep other converters out of a folder; one that was killed holds nothing.

    Raises:
        OSError: the folder can't be made or opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{folder}: another converter downloads to it; waiting for that")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems have no locks: go on as every other downloader does.
            pass
        yield
    finally:
        os.close(handle)
