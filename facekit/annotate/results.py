"""The record of a run: what was found in each photo, in one SQLite file beside the output.

It knows which photos are new, changed, gone or failed, and gives the dataset's photos in order, a
page at a time, so that memory stays flat however many there are. Records are committed in groups:
what was committed survives a kill, a power cut and a full disk.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facekit.annotate.photo import PendingPhoto
from facekit.annotate.walk import Found
from facekit.annotations.dataset import NumberedPhoto
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import ConfigError, DataError, FacekitError, InputError
from facekit.store.documents import digest
from facekit.store.sqlite import FAILED, FAILED_FOR_NOW, OK, RECORD, VANISHED, SqliteStore
from facekit.store.store import to_bytes, to_text

_COMMIT_INTERVAL_S = 0.5
_PAGE = 50
"""Records that are in memory at a time; of a crowd each may have hundreds of faces."""
_LISTING_PAGE = 1000
_DATASET = 1
"""Id of the one dataset of a record."""

# What the listing of the folder gives lives as long as the run, in SQLite's temporary file.
_TABLES = """
PRAGMA cache_size = -4000;
PRAGMA temp_store = FILE;
CREATE TEMP TABLE found (
    name BLOB, size, mtime_ns, sha256, reason, device, inode, round, UNIQUE (device, inode)
);
CREATE TEMP TABLE listing (rank INTEGER PRIMARY KEY, name BLOB UNIQUE, size, mtime_ns, sha256,
    reason);
CREATE TEMP TABLE unlisted (name BLOB, reason TEXT);
"""
# Inode numbers may take all 64 bits, of which SQLite's integers lack one: they are kept as texts.
_ADD_FOUND = """
INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, inode) DO UPDATE
SET name = excluded.name, size = excluded.size, mtime_ns = excluded.mtime_ns,
    sha256 = excluded.sha256, reason = excluded.reason
WHERE excluded.round = round AND excluded.name < name
"""
# A name comes twice where a file was put in the place of another while the folder was listed, or
# where one is spelled as another's bytes that are not UTF-8 are shown: min takes the usable one.
_RANK = """
INSERT INTO listing SELECT row_number() OVER (ORDER BY name), name, size, mtime_ns, sha256, reason
FROM (SELECT name, size, mtime_ns, sha256, min(reason) AS reason FROM found GROUP BY name)
ORDER BY name
"""
_NUMBER = "(SELECT rank FROM listing WHERE listing.name = photos.name)"
_LISTED = "FROM listing l LEFT JOIN photos p ON p.dataset = 1 AND p.name = l.name WHERE "
_PENDING = f"""
l.reason = '' AND (p.name IS NULL OR p.size <> l.size OR p.state >= {FAILED_FOR_NOW}
 OR (:retry AND p.state = {FAILED})
 OR CASE WHEN :hash THEN l.sha256 = '' OR p.sha256 <> l.sha256 ELSE p.mtime_ns <> l.mtime_ns END)
"""
_REFUSED = f"""
l.reason <> '' AND (p.name IS NULL OR p.size <> l.size OR p.mtime_ns <> l.mtime_ns
                    OR p.state <> {FAILED})
"""
_GONE = """
FROM photos WHERE number IS NULL AND NOT EXISTS (
    SELECT 1 FROM unlisted u WHERE substr(photos.name, 1, length(u.name)) = u.name
)
"""
_FAILURES = f"""
SELECT name, record, '' FROM photos JOIN records ON photo = id
WHERE number IS NOT NULL AND state <> {OK}
UNION ALL SELECT substr(name, 1, length(name) - 1), '', reason FROM unlisted ORDER BY 1
"""
_WHY_UNLISTED = "SELECT reason FROM unlisted WHERE name = CAST('./' AS BLOB)"
_HAS_RESULT = f"WHERE dataset = {_DATASET} AND state = {OK} AND number IS NOT NULL AND"
_PHOTOS = f"""
SELECT name, number, digest, CAST(record AS BLOB) FROM photos JOIN records ON photo = id
{_HAS_RESULT} name > ? ORDER BY name LIMIT {_PAGE}
"""


@dataclass(frozen=True)
class Head:
    """A photo with a result.

    ``id`` grows with each new outcome of any photo; ``photo`` is the bytes of its path under the
    photo folder; ``digest`` differs when anything of its faces differs.
    """

    id: int
    photo: bytes
    digest: str


class Results(SqliteStore):
    """The record of a run, open for one process at a time; any thread of it may use it.

    Args:
        path: Created where it is missing, and removed at the end if nothing was recorded.
        model: The model whose results it has.
        dataset: Name of the dataset, for queries.
        folder: The photo folder.
        hash_content: Whether changes are detected by a photo's content, not by its time.
        retry_failed: Whether photos whose failure lasts are looked at again.

    Raises:
        ConfigError: It has the results of another model.
        DataError: It can't be written to, or is not a record. So does each method.
    """

    def __init__(
        self,
        path: Path,
        *,
        model: str,
        dataset: str,
        folder: Path,
        hash_content: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.path = path
        self._parameters = {"hash": hash_content, "retry": retry_failed}
        self._committed_at = 0.0
        super().__init__(path, create=True, kinds=(RECORD,))
        try:
            with self._errors():
                self._connection.executescript(_TABLES)
            self.id = self._own(model, dataset, folder)
        except BaseException:
            self.close()
            raise

    def _own(self, model: str, dataset: str, folder: Path) -> str:
        rows = self._rows("SELECT name, folder, owner, model FROM datasets")
        about = (dataset, to_bytes(str(folder)))
        if not rows:
            owner = uuid.uuid4().hex
            with self._transaction():
                query = f"INSERT INTO datasets VALUES ({_DATASET}, ?, ?, ?, ?)"
                self._connection.execute(query, (*about, owner, model))
            return owner
        *known, owner, found = rows[0]
        if found != model:
            raise ConfigError(
                f"{self.path} contains the results of the model {found}, not of {model}: give "
                f"another output file, or remove this one to begin again with {model}"
            )
        if tuple(known) != about:
            with self._transaction():
                self._connection.execute("UPDATE datasets SET name = ?, folder = ?", about)
        return str(owner)

    def take_listing(self, found: Iterable[Found]) -> int:
        """Take over what a folder contains, and return how many files of it are not pictures."""
        others = 0
        with self._transaction():
            for file in found:
                name = to_bytes(file.photo)
                if file.reason is None:
                    others += 1
                elif file.stamp is None:
                    # A slash behind it: what is recorded of photos below it stays.
                    row = (name + b"/", file.reason)
                    self._connection.execute("INSERT INTO unlisted VALUES (?, ?)", row)
                else:
                    device, inode = map(str, file.identity) if file.identity else (None, None)
                    stamp = (file.stamp.size, file.stamp.mtime_ns, file.stamp.sha256)
                    values = (name, *stamp, file.reason, device, inode, file.round)
                    self._connection.execute(_ADD_FOUND, values)
        # A transaction of its own: where the record lies below the folder, the walk has opened and
        # closed it, by which POSIX takes all locks on it from this process.
        with self._transaction():
            self._connection.execute(_RANK)
            self._connection.execute("DELETE FROM found")
            self._connection.execute(
                f"UPDATE photos SET number = {_NUMBER} WHERE number IS NOT {_NUMBER}"
            )
        return others

    def known(self, photo: str) -> tuple[FileStamp, bool] | None:
        """Return the stamp of a photo's record, and whether that has faces."""
        query = "SELECT size, mtime_ns, sha256, state FROM photos WHERE dataset = 1 AND name = ?"
        rows = self._rows(query, to_bytes(photo))
        return (FileStamp(*rows[0][:3]), rows[0][3] == OK) if rows else None

    def why_unlisted(self) -> str:
        """Return why the photo folder itself can't be listed; "" where it can."""
        return next((str(reason) for (reason,) in self._rows(_WHY_UNLISTED)), "")

    def pending(self) -> Iterator[PendingPhoto]:
        """Yield the photos that have still to be looked at, in order, each once."""
        for rank, photo, stamp, _ in self._listed(_PENDING):
            yield PendingPhoto(rank, photo, stamp)

    def refused(self) -> Iterator[tuple[str, FileStamp, str]]:
        """Yield photos that can't be annotated and of which the record does not say so."""
        for _, photo, stamp, reason in self._listed(_REFUSED):
            yield photo, stamp, reason

    def put(self, record: PhotoRecord) -> None:
        """Record a photo's outcome; it is safe after the next :meth:`commit`.

        That is done with the first record that comes half a second after the one before. Raises
        DataError if the disk is full or broken; what was committed is safe.
        """
        name, made = to_bytes(record.photo), "" if record.faces is None else digest(record)
        with self._lock, self._errors():
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT photo")
            try:
                rank = self._rows("SELECT rank FROM listing WHERE name = ?", name)
                self._put(_DATASET, record, made, rank[0][0] if rank else None)
                self._connection.execute("RELEASE photo")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended the transaction
                    self._connection.execute("ROLLBACK TO photo")
                raise
        if time.monotonic() - self._committed_at >= _COMMIT_INTERVAL_S:
            self.commit()

    def remove_gone(self) -> int:
        """Forget the photos that the folder no longer contains, and return how many there were.

        Those below folders that can't be listed stay. One that was gone before it was read has
        been counted then.
        """
        self.commit()
        with self._transaction():
            gone = self._rows(f"SELECT count(*) {_GONE} AND state <> {VANISHED}")
            self._connection.execute(f"DELETE {_GONE}")
        return int(gone[0][0])

    def commit(self) -> None:
        """Wait until all that was recorded is on the disk.

        Raises DataError if the disk is full or broken; what was committed before is safe.
        """
        with self._lock, self._errors():
            try:
                self._connection.commit()
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    self._connection.rollback()
                raise
        self._committed_at = time.monotonic()

    def numbered(self) -> Iterator[NumberedPhoto]:
        """Yield the photos of the dataset, numbered, in order.

        Raises DataError for a damaged record; the next run looks at its photo again.
        """
        name = b""
        while rows := self._rows(_PHOTOS, name):
            for name, number, expected, text in rows:
                try:
                    record = PhotoRecord.from_json(text)
                    if digest(record) != expected:
                        raise InputError("it has changed")
                except InputError as error:
                    with self._transaction():
                        self._remove(_DATASET, name)
                    reason = f"what it has of {to_text(name)} is damaged: {error}"
                    raise self._failure(reason, for_now=True) from error
                yield NumberedPhoto(number, record)

    def failures(self) -> Iterator[tuple[str, str, bool]]:
        """Yield what has no result, by name: the name, the reason, and whether it is a photo."""
        with self._errors():
            for name, text, reason in iter(self._connection.execute(_FAILURES).fetchone, None):
                if text:
                    yield to_text(name), self._parsed(text).error, True
                else:
                    yield to_text(name), reason, False

    def heads(self, after: int, count: int) -> list[Head]:
        """Return the next photos with a result, by their ids."""
        query = f"SELECT id, name, digest FROM photos {_HAS_RESULT} id > ? ORDER BY id LIMIT ?"
        return [Head(*row) for row in self._rows(query, after, count)]

    def record(self, head: Head) -> PhotoRecord | None:
        """Return a photo's record, or None if it has a newer one by now."""
        rows = self._rows("SELECT record FROM records WHERE photo = ?", head.id)
        return self._parsed(rows[0][0]) if rows else None

    def count_found(self, after: int = 0) -> int:
        """Return how many photos have a result whose id is above a number."""
        return int(self._rows(f"SELECT count(*) FROM photos {_HAS_RESULT} id > ?", after)[0][0])

    def has_found(self, photo: bytes) -> bool:
        """Return whether a photo has a result."""
        return bool(self._rows(f"SELECT 1 FROM photos {_HAS_RESULT} name = ?", photo))

    def count_listed(self) -> int:
        """Return how many photos there are, also those that can't be annotated."""
        return int(self._rows("SELECT count(*) FROM listing")[0][0])

    def count_pending(self) -> int:
        """Return how many photos have still to be looked at."""
        with self._lock, self._errors():
            query = f"SELECT count(*) {_LISTED} {_PENDING}"
            return int(self._connection.execute(query, self._parameters).fetchone()[0])

    def close(self) -> None:
        """Commit and close; a record without any photo is removed."""
        empty = False
        with suppress(FacekitError):  # what went wrong has been raised before
            self.commit()
            empty = not self._rows("SELECT 1 FROM photos LIMIT 1")
        super().close()
        if empty:
            self.path.unlink(missing_ok=True)

    def _listed(self, condition: str) -> Iterator[tuple[int, str, FileStamp, str]]:
        # In pages: records are put while the photos are taken, and SQLite does not say which of
        # two states an open question sees.
        query = f"""
            SELECT l.rank, l.name, l.size, l.mtime_ns, l.sha256, l.reason {_LISTED}
            l.rank > :last AND {condition} ORDER BY l.rank LIMIT {_LISTING_PAGE}
        """
        last = 0
        while True:
            with self._lock, self._errors():
                parameters: dict[str, Any] = {**self._parameters, "last": last}
                page = self._connection.execute(query, parameters).fetchall()
            for last, name, size, mtime_ns, sha256, reason in page:
                yield last, to_text(name), FileStamp(size, mtime_ns, sha256), reason
            if len(page) < _LISTING_PAGE:
                return

    def _failure(self, reason: str, *, for_now: bool = False) -> FacekitError:
        remedy = "Give another output file, or remove this one to begin again"
        if for_now:
            remedy = "When that is mended, the same command goes on where it stopped"
        return DataError(self.path, f"{reason}. {remedy}")
