"""Which photos there are, and which of them a run has still to look at: a scratch file of SQLite.

It keeps memory flat however many photos there are, and may be removed at any time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.annotate.photo import PendingPhoto
from facekit.annotate.walk import Found
from facekit.annotations.journal import RecordHead
from facekit.annotations.record import FileStamp
from facekit.closing import Closing
from facekit.files import check_sqlite_path

_PAGE = 1000
_OK, _FAILED, _FAILED_FOR_NOW, _GONE = range(4)

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE records (
    name TEXT PRIMARY KEY, size, mtime_ns, sha256, state, start, end
) WITHOUT ROWID;
CREATE TABLE found (
    name TEXT, size, mtime_ns, sha256, reason, device, inode, round, UNIQUE (device, inode)
);
CREATE TABLE photos (rank INTEGER PRIMARY KEY, name TEXT UNIQUE, size, mtime_ns, sha256, reason);
CREATE TABLE troubles (name TEXT, reason TEXT);
"""
# Inode numbers may take all 64 bits, of which SQLite's integers lack one: they are kept as texts.
_ADD_FOUND = """
INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, inode) DO UPDATE
SET name = excluded.name, size = excluded.size, mtime_ns = excluded.mtime_ns,
    sha256 = excluded.sha256, reason = excluded.reason
WHERE excluded.round = round AND excluded.name < name
"""
# A name comes twice where a file was put in the place of another while the folder was listed, or
# where one is spelled as another's bytes that are no UTF-8 are shown: min takes the usable one.
_RANK = """
INSERT INTO photos SELECT row_number() OVER (ORDER BY name), name, size, mtime_ns, sha256, reason
FROM (SELECT name, size, mtime_ns, sha256, min(reason) AS reason FROM found GROUP BY name)
ORDER BY name
"""
_CHANGED = """
(r.name IS NULL OR r.size <> p.size OR r.state >= :not_for_good
 OR CASE WHEN :hash THEN p.sha256 = '' OR r.sha256 <> p.sha256 ELSE r.mtime_ns <> p.mtime_ns END)
"""
_PENDING = f"p.reason = '' AND ({_CHANGED} OR (:retry AND r.state = {_FAILED}))"
_REFUSED = f"""
p.reason <> '' AND (r.name IS NULL OR r.size <> p.size OR r.mtime_ns <> p.mtime_ns
                    OR r.state <> {_FAILED})
"""
_PHOTOS_WITH_RECORDS = "FROM photos p LEFT JOIN records r ON r.name = p.name WHERE "
_GONE_RECORDS = f"""
SELECT name, size, mtime_ns, sha256 FROM records r WHERE state <> {_GONE}
AND NOT EXISTS (SELECT 1 FROM photos p WHERE p.name = r.name)
AND NOT EXISTS (
    SELECT 1 FROM troubles t WHERE substr(r.name, 1, length(t.name) + 1) = t.name || '/'
) LIMIT {_PAGE}
"""
_FAILURES = f"""
SELECT p.name, r.start, r.end, '' {_PHOTOS_WITH_RECORDS} r.state <> {_OK}
UNION ALL SELECT name, 0, 0, reason FROM troubles ORDER BY 1
"""


@dataclass(frozen=True)
class Failure:
    """A photo, or a folder, without a result: where its record stands, or else the reason."""

    photo: str
    start: int
    end: int
    reason: str


class PhotoIndex(Closing):
    """The photos of a folder in their order, and where the journal has their records.

    Args:
        path: The scratch file; what is there is removed.
        hash_content: Whether a photo's content tells if it has changed, not its time.
        retry_failed: Whether photos whose failure lasts are looked at again.

    Raises:
        ConfigError: The path is too long for SQLite.
        sqlite3.Error: From each method, where the disk is full.
    """

    def __init__(
        self, path: Path, *, hash_content: bool = False, retry_failed: bool = False
    ) -> None:
        check_sqlite_path(path)
        self._path = path
        path.unlink(missing_ok=True)
        self._lock = threading.Lock()
        self._parameters = {
            "hash": hash_content,
            "retry": retry_failed,
            "not_for_good": _FAILED_FOR_NOW,
        }
        # A pending photo may be asked for by any thread of whoever finds the faces.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)

    def load(self, heads: Iterable[RecordHead]) -> None:
        """Take over where the journal's records stand; the last one of a photo counts."""
        self._database.execute("DELETE FROM records")
        self._database.execute("BEGIN")
        for head in heads:
            self._set(head)
        self._database.execute("COMMIT")

    def fill(self, found: Iterable[Found]) -> int:
        """Take over what a folder holds, and return how many files of it are no pictures."""
        others = 0
        self._database.execute("BEGIN")
        for file in found:
            if file.reason is None:
                others += 1
            elif file.stamp is None:
                self._database.execute(
                    "INSERT INTO troubles VALUES (?, ?)", (file.photo, file.reason)
                )
            else:
                device, inode = map(str, file.identity) if file.identity else (None, None)
                stamp = (file.stamp.size, file.stamp.mtime_ns, file.stamp.sha256)
                values = (file.photo, *stamp, file.reason, device, inode, file.round)
                self._database.execute(_ADD_FOUND, values)
        self._database.execute(_RANK)
        self._database.execute("DELETE FROM found")
        self._database.execute("COMMIT")
        return others

    def known(self, photo: str) -> tuple[FileStamp, bool] | None:
        """Return the stamp of a photo's last record, and whether that has faces."""
        row = self._one(
            "SELECT size, mtime_ns, sha256, state FROM records WHERE name = ?", (photo,)
        )
        return None if row is None else (FileStamp(*row[:3]), row[3] == _OK)

    def note(self, head: RecordHead) -> None:
        """Take over one more record of the journal."""
        with self._lock:
            self._set(head)

    def pending(self) -> Iterator[PendingPhoto]:
        """Yield the photos that have still to be looked at, in order, each once."""
        for rank, photo, stamp, _ in self._paged(_PENDING):
            yield PendingPhoto(rank, photo, stamp)

    def refused(self) -> Iterator[tuple[str, FileStamp, str]]:
        """Yield photos that can't be annotated and of which the journal does not say so."""
        for _, photo, stamp, reason in self._paged(_REFUSED):
            yield photo, stamp, reason

    def some_gone(self) -> list[tuple[str, FileStamp]]:
        """Return photos that the journal has and the folder has not, but for unlisted folders.

        A thousand at most; there may be more when it is noted that these are gone.
        """
        return [(name, FileStamp(*stamp)) for name, *stamp in self._all(_GONE_RECORDS)]

    def why_unlisted(self) -> str:
        """Return why the photo folder itself can't be listed; "" where it can."""
        row = self._one("SELECT reason FROM troubles WHERE name = '.'")
        return "" if row is None else str(row[0])

    def results(self) -> Iterator[tuple[int, int, int]]:
        """Yield rank and record offsets of the photos with faces, in order."""
        query = f"SELECT rank, start, end {_PHOTOS_WITH_RECORDS} r.state = {_OK} ORDER BY rank"
        yield from self._all(query)

    def failures(self) -> Iterator[Failure]:
        """Yield what has no result, in order of the names."""
        for row in self._all(_FAILURES):
            yield Failure(*row)

    def live_spans(self) -> Iterator[tuple[int, int]]:
        """Yield the offsets of the records that count, in order."""
        yield from self._all(
            f"SELECT start, end FROM records WHERE state <> {_GONE} ORDER BY start"
        )

    def live_bytes(self) -> int:
        """Return how many bytes of the journal count."""
        return self._count(f"SELECT sum(end - start) FROM records WHERE state <> {_GONE}")

    def count_photos(self) -> int:
        """Return how many photos there are, also those that can't be annotated."""
        return self._count("SELECT count(*) FROM photos")

    def count_pending(self) -> int:
        """Return how many photos have still to be looked at."""
        return self._count(f"SELECT count(*) {_PHOTOS_WITH_RECORDS} {_PENDING}", self._parameters)

    def close(self) -> None:
        """Close and remove the scratch file."""
        self._database.close()
        self._path.unlink(missing_ok=True)

    def _set(self, head: RecordHead) -> None:
        state = _FAILED if head.lasting else _FAILED_FOR_NOW
        state = _GONE if head.gone else state if head.failed else _OK
        stamp = (head.stamp.size, head.stamp.mtime_ns, head.stamp.sha256)
        values = (head.photo, *stamp, state, head.start, head.end)
        self._database.execute("REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def _paged(self, condition: str) -> Iterator[tuple[int, str, FileStamp, str]]:
        # In pages: records are noted while the photos are taken, and SQLite does not say which of
        # two states an open question sees.
        query = f"""
            SELECT p.rank, p.name, p.size, p.mtime_ns, p.sha256, p.reason {_PHOTOS_WITH_RECORDS}
            p.rank > :last AND {condition} ORDER BY p.rank LIMIT {_PAGE}
        """
        last = 0
        while True:
            with self._lock:
                parameters = {**self._parameters, "last": last}
                page = self._database.execute(query, parameters).fetchall()
            for last, name, size, mtime_ns, sha256, reason in page:
                yield last, name, FileStamp(size, mtime_ns, sha256), reason
            if len(page) < _PAGE:
                return

    def _all(self, query: str) -> Iterator[Any]:
        # Who stops in the middle closes what is yielded from: a cursor, when its database is closed
        # already, would not have it.
        yield from iter(self._database.execute(query).fetchone, None)

    def _one(self, query: str, parameters: Any = ()) -> Any:
        with self._lock:
            return self._database.execute(query, parameters).fetchone()

    def _count(self, query: str, parameters: Any = ()) -> int:
        return self._one(query, parameters)[0] or 0
