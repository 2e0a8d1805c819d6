"""Files that appear in their place in one step, and what to do when a file system refuses them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from conversion.catalog import RemoteFile
from conversion.errors import FetchError
from facekit.engines.manifest import sha256_of
from facekit.text import byte_count

_WEIGHTS_DIR = "FACEKIT_WEIGHTS_DIR"

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
    """Turn what a file system refuses of a download into the error that says what to do.

    Args:
        target: the file that shall come to be.
        error: makes the error of what happened and what to do.
    """
    try:
        yield
    except OSError as problem:
        raise error(*_refusal(target, problem, _WEIGHTS_DIR)) from problem


def writable_problem(folder: Path, *, variable: str) -> str | None:
    """Return why files can't be made in a folder, and what to do; ``None`` if they can.

    Args:
        folder: made where it is missing.
        variable: sets another folder, such as ``FACEKIT_MODEL_REPOSITORY``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as problem:
        return write_problem(folder, problem, variable=variable)


def write_problem(path: Path, problem: OSError, *, variable: str) -> str:
    """Return why a file or folder could not be written, and what to do.

    Args:
        path: what was to be written.
        problem: what the file system said.
        variable: sets another folder, such as ``FACEKIT_MODEL_REPOSITORY``.
    """
    return ". ".join(_refusal(path, problem, variable))


def _refusal(path: Path, problem: OSError, variable: str) -> tuple[str, str]:
    said = f"{path} can't be written: {problem.strerror or problem}"
    return said, _remedy(_nearest_folder(path), problem.errno, variable)


def _nearest_folder(path: Path) -> Path:
    """Return the innermost folder on the way to a file that exists and may be looked at."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            if folder.is_dir():
                return folder
    return Path(path.anchor or ".")


def _remedy(folder: Path, number: int | None, variable: str) -> str:
    other = f"set {variable} to another folder"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{byte_count(shutil.disk_usage(folder).free)} are free there: make room, or {other}"
    if number in (errno.EACCES, errno.EPERM):
        owner, uid, gid = folder.stat(), os.geteuid(), os.getegid()
        said = f"This runs as user {uid}:{gid}, and {folder} is {owner.st_uid}:{owner.st_gid}'s"
        if owner.st_uid == uid:
            return f"{said}, without the right to write: on the host, chmod u+rwx that folder"
        if owner.st_uid == 0:
            # As Docker leaves a folder that was missing when it was mounted.
            return f"{said}: on the host, sudo chown -R {uid}:{gid} that folder"
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
            say(f"{folder}: another converter works in it; waiting for that")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems have no locks: go on as every other downloader does.
            pass
        yield
    finally:
        os.close(handle)
