"""Find the photos below a folder by their content, each once."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from facekit import limits
from facekit.annotations.output import OUTPUT_MARK
from facekit.annotations.record import FileStamp
from facekit.photos.formats import (
    ACCEPTED,
    DRAWN_SUFFIXES,
    EMPTY,
    HEAD_BYTES,
    PHOTO_SUFFIXES,
    refusal,
)

_HASH_BYTES = 1 << 20
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Found:
    """A file, or a folder that can't be listed.

    Attributes:
        photo: Path under the photo folder, with ``/`` between its parts.
        stamp: Its state; None for what has no place in a dataset: a folder, or a link that can't be
            followed.
        identity: Device and inode number, by which a second name of the same file is known; None
            where the file system has no such numbers.
        reason: Why it can't be annotated; "" where it can; None where it is not a picture.
        round: 0 for what lies below the folder itself; then each link that was followed counts.
            Of two names of one file that of the lower round counts, then the lower name.
    """

    photo: str
    stamp: FileStamp | None
    identity: tuple[int, int] | None
    reason: str | None
    round: int = 0


Known = Callable[[str], "tuple[FileStamp, bool] | None"]
"""Gives the stamp that an earlier run had of a photo, and whether it could be annotated."""


def walk(
    folder: Path, known: Known, *, hash_content: bool = False, only: Iterable[str] = ("",)
) -> Iterator[Found]:
    """Yield what lies below a folder; the order within one folder is the disk's.

    Hidden files and folders are left out, and folders whose name begins with ``@`` (thumbnails of
    a network drive) or that contain the kit's own pictures. Links are followed after all else, so
    that a file is known by its own name where it has one below the folder; it may come again under
    another name. What is named like a photo, and is empty or a pipe, is a refused photo. The
    content of photos that are ``known`` in their present state is not looked at again; with
    ``hash_content`` whole files whose size an earlier run has seen are read. ``only`` are names of
    files and folders below it, where not all of it is meant; such a file is refused, not left out,
    if it is not a picture.
    """
    walker = _Walker(folder, known, hash_content)
    for name in only:
        yield from walker.named(name)
    while walker.links:
        links, walker.links = sorted(walker.links), []
        for link in links:
            walker.round += 1
            yield from walker.behind(link)


class _Walker:
    """Names are texts with ``/`` between their parts, as the system's calls take them."""

    def __init__(self, folder: Path, known: Known, hash_content: bool) -> None:
        self._folder, self._known, self._hash = folder, known, hash_content
        self._folders: set[tuple[int, int]] = set()
        self.links: list[str] = []
        self.round = 0

    def named(self, name: str) -> Iterator[Found]:
        """Yield a file, or what lies in a folder and its subfolders."""
        if not name or (self._folder / name).is_dir():
            yield from self.below(name)
            return
        found = self._file(name)
        reason = f"not a photo; {ACCEPTED}" if found.reason is None else found.reason
        yield replace(found, reason=reason)

    def below(self, name: str) -> Iterator[Found]:
        """Yield what lies in one folder and its subfolders, and keep the links for later."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            try:
                if self._is_new(self._folder / name):
                    yield from self._entries(name, waiting)
            except OSError as error:
                reason = f"a folder that can't be listed: {error.strerror or error}"
                yield Found(_text(name) or ".", None, None, reason)

    def _is_new(self, path: Path) -> bool:
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in self._folders or (path / OUTPUT_MARK).exists():
            return False
        if status.st_ino:
            self._folders.add(identity)
        return True

    def _entries(self, name: str, folders: list[str]) -> Iterator[Found]:
        # Never a list of all entries: one folder may contain a million photos.
        with os.scandir(self._folder / name) as entries:
            for entry in entries:
                child = f"{name}/{entry.name}" if name else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    self.links.append(child)
                elif not entry.is_dir(follow_symlinks=False):
                    yield self._file(child)
                elif not entry.name.startswith("@"):
                    folders.append(child)

    def behind(self, name: str) -> Iterator[Found]:
        """Yield what a link leads to; one that leads nowhere counts if it is named like a photo."""
        path = self._folder / name
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            if error.errno not in _NOWHERE:
                # What is there is unknown: it may be a folder of photos that are on record.
                reason = f"a link that can't be followed: {error.strerror or error}"
                yield Found(_text(name), None, None, reason)
                return
            is_folder = False
        if not is_folder:
            yield self._file(name)
        elif not path.name.startswith("@"):
            yield from self.below(name)

    def _file(self, name: str) -> Found:
        found = self._look(name)
        if _text(name) == name:
            return found
        reason = "a name that is not UTF-8, which JSON can't hold: rename the file"
        return Found(_text(name), found.stamp, None, None if found.reason is None else reason)

    def _look(self, name: str) -> Found:
        path = self._folder / name
        suffix = path.suffix.lower()
        promised = suffix in PHOTO_SUFFIXES
        try:
            status = path.stat()
            stamp = FileStamp.of(status)
            identity = (status.st_dev, status.st_ino) if status.st_ino else None
            if name.lower().endswith(DRAWN_SUFFIXES):
                return Found(name, stamp, identity, None)
            if not stat.S_ISREG(status.st_mode):
                reason = "not a regular file" if promised else None
                return Found(name, stamp, identity, reason, self.round)
            if status.st_size == 0:
                reason = EMPTY if promised else None
                return Found(name, stamp, identity, reason, self.round)
            stamp, why = self._content(path, name, suffix, stamp)
            return Found(name, stamp, identity, why, self.round)
        except OSError as error:
            # What it is cannot be seen, so its name decides.
            reason = f"can't be read: {error.strerror or error}" if promised else None
            return Found(name, FileStamp(0, 0), None, reason)

    def _content(
        self, path: Path, name: str, suffix: str, stamp: FileStamp
    ) -> tuple[FileStamp, str | None]:
        """Return the stamp, with the digest where it is of use, and why the file is not a photo."""
        seen, succeeded = self._known(_text(name)) or (None, False)
        if seen is not None and seen.size == stamp.size:
            if self._hash and seen.sha256:
                stamp = FileStamp(stamp.size, stamp.mtime_ns, _sha256(path))
                same = stamp.sha256 == seen.sha256
            else:
                same = not self._hash and seen.mtime_ns == stamp.mtime_ns
            if same and succeeded:
                return stamp, ""
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD_BYTES) or b""
        reason = refusal(head, suffix)
        if reason == "" and stamp.size > limits.MAX_PHOTO_BYTES:
            reason = f"{stamp.size:,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}"
        return stamp, reason


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
