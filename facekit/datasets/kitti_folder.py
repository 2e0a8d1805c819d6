"""A KITTI folder that is filled set by set: frames, labels, and a list of their sources."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from facekit.errors import DataError, reading, writing
from facekit.files import FolderLock, write_whole

SOURCES_FILE = "sources.json"
JOURNAL_FILE = "sources.journal"
_PARTIAL_FILES = ".*.part*"
_MOST_NAME_BYTES = 200
"""Of a name without suffix; file systems take 255 bytes, and some are added here and there."""
_FORBIDDEN = re.compile(r"[/\\:\0-\x1f]")

Size = tuple[int, int]


class KittiFolder:
    """Writes ``images/<name>.jpg`` and ``labels/<name>.txt``, each whole or not at all.

    A file that already holds what is written is left as it is. ``sources.json`` holds the size of
    the frames, and which photo each name comes from; by it, what an earlier run wrote of a set and
    this one did not is removed when the set is finished. Files that it does not list are never
    touched. While a run lasts, its names stand in ``sources.journal``, each before its files are
    written, so that the next run knows all files of one that was killed. The folder is created when
    it is entered, with its two folders; ``size_wh`` is of the frames in pixels.
    """

    def __init__(self, folder: Path, size_wh: Size) -> None:
        self.folder, self.size_wh = folder, size_wh
        self.images, self.labels = folder / "images", folder / "labels"
        self._sources: dict[str, str] = {}
        self._taken: dict[str, set[str]] = {}
        self._lock = FolderLock(folder)
        self._journal: TextIO | None = None

    def write(self, set_name: str, name: str, source: str, jpeg: bytes, labels: str) -> str:
        """Write a frame and its labels under a name of their own, and return it.

        The name is ``<set>_<name>``, so that photos of one name in two sets both stay, with ``_``
        for ``/``; the second of one name in its set gets a number, and a very long one ends in a
        digest. ``sources.json`` gets the name with ``source``, the photo's path in the set. Raises
        DataError if a file can't be written.
        """
        taken = self._taken.setdefault(set_name, set())
        plain = _shortened(f"{set_name}_" + _FORBIDDEN.sub("_", name))
        unique, number = plain, 1
        while unique.casefold() in taken:  # some file systems do not tell a.jpg from A.jpg
            number += 1
            unique = f"{plain}-{number}"
        taken.add(unique.casefold())
        journal = self.folder / JOURNAL_FILE
        with writing(journal):
            if self._journal is None:
                self._journal = journal.open("w", encoding="ascii")
            # Flushed before the files are written: a kill takes what this process still holds.
            self._journal.write(json.dumps([unique, source]) + "\n")
            self._journal.flush()
        self._sources[unique] = source
        # Labels first: a frame is never without them.
        _write(self.labels / f"{unique}.txt", labels.encode())
        _write(self.images / f"{unique}.jpg", jpeg)
        return unique

    def finish_set(self, set_name: str) -> int:
        """Remove what is left of the set from an earlier run; return the number of frames."""
        taken = self._taken.get(set_name, set())
        old = [
            name
            for name in self._sources
            if name.startswith(f"{set_name}_") and name.casefold() not in taken
        ]
        for name in old:
            _remove(self.images / f"{name}.jpg")
            _remove(self.labels / f"{name}.txt")
            del self._sources[name]
        return len(old)

    def __enter__(self) -> KittiFolder:
        self._lock.acquire()
        try:
            for folder in (self.images, self.labels):
                with writing(folder):
                    folder.mkdir(exist_ok=True)
            self._recover()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._journal is not None:
                with suppress(OSError):  # of a full disk, which has been reported
                    self._journal.close()
            self._fold()
        finally:
            self._lock.release()

    def _recover(self) -> None:
        """Read what earlier runs wrote, and remove what a killed one left half written."""
        size, self._sources = _read_sources(self.folder / SOURCES_FILE)
        self._sources |= _read_journal(self.folder / JOURNAL_FILE)
        if self._sources and size is not None and size != self.size_wh:
            had, asked = ("{} x {}".format(*each) for each in (size, self.size_wh))
            reason = f"contains frames of {had} pixels, not {asked}: use another folder for these"
            raise DataError(self.folder, reason)
        for folder in (self.folder, self.images, self.labels):
            for file in folder.glob(_PARTIAL_FILES):
                _remove(file)
        self._fold()

    def _fold(self) -> None:
        """Write the list of sources, which then has all that the journal has."""
        data = {"size_wh": self.size_wh, "photos": self._sources}
        text = json.dumps(data, indent=0, sort_keys=True) + "\n"
        _write(self.folder / SOURCES_FILE, text.encode())
        _remove(self.folder / JOURNAL_FILE)


def read_frame_size(folder: Path) -> Size | None:
    """Return width and height of the frames of a converted folder, or None if it does not say.

    Raises DataError if its ``sources.json`` is damaged.
    """
    return _read_sources(folder / SOURCES_FILE)[0]


def _read_sources(path: Path) -> tuple[Size | None, dict[str, str]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read: {error}; remove it to start anew") from error
    try:
        width, height = data["size_wh"]
        photos = data["photos"]
        if not all(isinstance(value, str) for value in photos.values()):
            raise TypeError
        return (int(width), int(height)), photos
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(path, "is not a list of sources; remove it to start anew") from None


def _read_journal(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with reading(path):
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    found: dict[str, str] = {}
    for line in lines:
        try:
            name, source = json.loads(line)
        except (ValueError, TypeError):
            continue  # cut short by the kill, so before its files were written
        found[name] = source
    return found


def _shortened(name: str) -> str:
    data = name.encode("utf-8", "surrogateescape")
    if len(data) <= _MOST_NAME_BYTES:
        return name
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]
    return f"{data[: _MOST_NAME_BYTES - 13].decode('utf-8', 'ignore')}~{digest}"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(path, f"cannot be removed: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data, sync=False)
