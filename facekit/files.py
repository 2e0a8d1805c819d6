"""Writing whole files, locking files and folders, and finding out where files can be written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from facekit.errors import ConfigError, DataError, writing

LOCK_FILE = ".lock"
_SOMEBODY = "another process"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Error numbers of file systems that have no locks, such as some network ones."""

# SQLite takes paths of 512 bytes, and names the files beside its own with up to 8 more.
_MAX_SQLITE_BYTES = 504


def write_whole(path: Path, data: bytes | str, *, sync: bool = True) -> None:
    """Write a file, text as UTF-8, whole or not at all, as :func:`whole_file` does."""
    with whole_file(path, sync=sync) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces what was there when the block ends without an error.

    The bytes go to a hidden file beside it, which is synced to the disk and then renamed. A killed
    process may leave the hidden file behind; the next one overwrites it. A link is followed; a
    device or a pipe is written to directly, never replaced.

    Args:
        path: The file; its folder is created where it is missing.
        sync: Whether the file must survive a power cut; one of many that are quickly made again
            need not.

    Raises:
        OSError: The file cannot be written, or another process is writing it; what was there
            before is unchanged.
    """
    path = followed(path) if path.is_symlink() else path
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        handle = lock_file(partial)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another process is writing it", str(path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    # The descriptor is the lock: it is closed after the hidden file has got its name.
    with os.fdopen(handle, "wb") as file:
        try:
            os.ftruncate(handle, 0)
            yield file
            file.flush()
            if sync:
                publish(partial, path)
            else:
                partial.replace(path)
        except BaseException:
            # Once it has its name, another process may have begun a hidden file of its own.
            if is_file_at(handle, partial):
                partial.unlink(missing_ok=True)
            raise


def publish(partial: Path, path: Path) -> None:
    """Move a complete file to a place on its file system, and replace what is there.

    Not even a power cut leaves half of it. Raises OSError if the file system refuses.
    """
    sync_to_disk(partial)
    partial.replace(path)
    sync_to_disk(path.parent)


def sync_to_disk(path: Path) -> None:
    """Write what a file contains, or a folder's names, through to the disk; raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems cannot sync folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Check that a file can be written, or that files can be created in a folder, by trying it.

    Permission bits do not tell of read-only file systems and of user namespaces. Nothing changes on
    the disk: a missing folder is not created, the nearest one that exists is tried. An OSError says
    why it can't be written.
    """
    if path.exists() and not path.is_dir():
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        if not path.is_file():  # a device or a pipe, which is written to directly
            return
    folder = path if path.is_dir() else followed(path).parent
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def followed(path: Path) -> Path:
    """Return where a link leads, which need not exist; raises OSError for a loop of links."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def lock_file(path: Path) -> int:
    """Open a file, which is created where it is missing, and lock it for this process.

    The operating system gives the lock back when the descriptor, which no started program inherits,
    is closed or the process dies.

    Raises:
        BlockingIOError: Another process has the lock.
        OSError: The file cannot be opened or locked; see ``NO_LOCKS``.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have renamed or removed the file before it was locked here.
            if is_file_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def is_file_at(handle: int, path: Path) -> bool:
    """Return whether a descriptor's file still has this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


class FolderLock:
    """A lock that keeps two processes from filling a folder, which is created, at once.

    Its file names the process that holds it. A killed process loses the lock; the file that it
    leaves behind does no harm. ``name`` is the file's, where several processes may fill the folder
    with different things.
    """

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self._folder = folder
        self._path = folder / name
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises DataError if the folder can't be created or written to, or names the process that has
        the lock.
        """
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with writing(self._path):
            try:
                handle = lock_file(self._path)
            except BlockingIOError:
                raise DataError(
                    self._folder, f"is being filled by {self._holder()}; wait until it has finished"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                reason = f"cannot be locked: {error.strerror}; choose a folder of another disk"
                raise DataError(self._path, reason) from error
        self._handle = handle
        _folder_locks.add(handle)
        # On a full disk it does not say whose it is, and is the lock all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _holder(self) -> str:
        """Return who has the lock; that process may have just released it."""
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            return file.read(300).decode("utf-8", "replace").strip() or _SOMEBODY
        return _SOMEBODY

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._handle not in _folder_locks:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        _folder_locks.discard(self._handle)
        os.close(self._handle)
        self._handle = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_folder_locks: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _drop_in_child() -> None:
    """Close what a fork took along: a worker that outlives its parent must not keep the lock."""
    for handle in _folder_locks:
        with contextlib.suppress(OSError):
            os.close(handle)
    _folder_locks.clear()


os.register_at_fork(after_in_child=_drop_in_child)


def check_sqlite_path(path: Path) -> None:
    """Raise ConfigError for a path too long for SQLite; a relative one counts as absolute."""
    length = len(os.fsencode(path.absolute()))
    if length > _MAX_SQLITE_BYTES:
        raise ConfigError(
            f"{path}: its path has {length} bytes, and SQLite, which stores this file, takes "
            f"{_MAX_SQLITE_BYTES}: choose a shorter one"
        )
