"""A KITTI folder that is filled set by set: frames, labels, and a list of their sources."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import TracebackType

from facekit.errors import DataError

SOURCES_FILE = "sources.json"
_PARTIAL = ".partial"


class KittiFolder:
    """Writes ``images/<name>.jpg`` and ``labels/<name>.txt``, each whole or not at all.

    A file that already holds what is written is left as it is. ``sources.json`` says which photo
    each name comes from; by it, what an earlier run wrote of a set and this one did not is
    removed when the set is finished. Files that it does not list are never touched.

    Args:
        folder: Made when it is entered, with its two folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.labels = folder / "images", folder / "labels"
        self._sources: dict[str, str] = {}
        self._taken: dict[str, set[str]] = {}

    def write(self, set_name: str, name: str, source: str, jpeg: bytes, labels: str) -> str:
        """Write a frame and its labels under a name of their own, and return it.

        The name is ``<set>_<name>``, so that photos called alike in two sets both stay; one that
        is called like another of its set gets a number.

        Args:
            set_name: Prefix, without an underscore.
            name: Name in the set, ``/`` becomes ``_``.
            source: Where the photo lies in the set, for ``sources.json``.
            jpeg: The frame.
            labels: Text of the label file.
        """
        taken = self._taken.setdefault(set_name, set())
        plain = re.sub(r"[/\\:\0-\x1f]", "_", name)
        unique, number = f"{set_name}_{plain}", 1
        while unique.casefold() in taken:  # some file systems do not tell a.jpg from A.jpg
            number += 1
            unique = f"{set_name}_{plain}-{number}"
        taken.add(unique.casefold())
        # Labels first: a frame is never without them.
        _write(self.labels / f"{unique}.txt", labels.encode())
        _write(self.images / f"{unique}.jpg", jpeg)
        self._sources[unique] = source
        return unique

    def finish_set(self, set_name: str) -> int:
        """Remove what is left of the set from an earlier run; return how many frames that were."""
        taken = self._taken.get(set_name, set())
        old = [
            name
            for name in self._sources
            if name.startswith(f"{set_name}_") and name.casefold() not in taken
        ]
        for name in old:
            (self.images / f"{name}.jpg").unlink(missing_ok=True)
            (self.labels / f"{name}.txt").unlink(missing_ok=True)
            del self._sources[name]
        return len(old)

    def __enter__(self) -> KittiFolder:
        self.images.mkdir(parents=True, exist_ok=True)
        self.labels.mkdir(parents=True, exist_ok=True)
        self._sources = _read_sources(self.folder / SOURCES_FILE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        text = json.dumps(self._sources, indent=0, sort_keys=True) + "\n"
        _write(self.folder / SOURCES_FILE, text.encode())


def _read_sources(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read: {error}; remove it to start anew") from error
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise DataError(path, "is no list of sources; remove it to start anew")
    return data


def _write(path: Path, data: bytes) -> None:
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
