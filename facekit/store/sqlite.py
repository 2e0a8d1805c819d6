"""Results in one SQLite file: a store of several datasets, or the record of one run.

SQLite's rollback journal keeps it whole through kills, power cuts and full disks. It needs no
memory shared between processes, so that the file may lie on a network drive.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from facekit.annotations.coco import FACE
from facekit.annotations.record import GONE, PIXEL_DIGITS, SCORE_DIGITS, PhotoRecord, rounded_list
from facekit.errors import ConfigError, FacekitError, InputError, StoreError, StoreUnavailableError
from facekit.faces import Faces
from facekit.files import check_sqlite_path
from facekit.landmarks.eyes import has_eyes
from facekit.store.documents import face_documents, folder_of
from facekit.store.store import (
    CategoryCount,
    Change,
    FolderCount,
    Store,
    StoredDataset,
    StoredFace,
    StoredPhoto,
    face_answer,
    to_bytes,
    to_text,
)

STORE, RECORD = 0x66616365, 0x66616372
"""SQLite's application ids of the two kinds of file."""
VERSION = 2
OK, FAILED, FAILED_FOR_NOW, VANISHED = range(4)
"""States of a photo: has faces; an error of its own; another's error; gone before it was read."""

_BUSY_S = 20.0
_PAGE = 100
"""Faces whose photos' records are in memory at a time."""
_NUMBER_BITS = 20
"""Of a face's place in its photo, in a key that begins with the photo's id."""

# Names are blobs, which SQLite compares by their bytes. A photo's id grows with each new outcome.
# What is long is in a table of its own, so that the others are quickly scanned. A turn is an
# angle from upright, 0 to 180.
_SCHEMA = """
CREATE TABLE datasets (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder BLOB NOT NULL, owner TEXT NOT NULL,
  model TEXT NOT NULL
);
CREATE TABLE photos (
  id INTEGER PRIMARY KEY AUTOINCREMENT, dataset INTEGER NOT NULL REFERENCES datasets,
  name BLOB NOT NULL, folder BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  sha256 TEXT NOT NULL, state INTEGER NOT NULL, number INTEGER, width INTEGER NOT NULL,
  height INTEGER NOT NULL, channels INTEGER NOT NULL, faces INTEGER NOT NULL,
  digest TEXT NOT NULL, UNIQUE (dataset, name)
);
CREATE TABLE records (
  photo INTEGER PRIMARY KEY REFERENCES photos ON DELETE CASCADE, record TEXT NOT NULL
);
CREATE TABLE faces (
  photo INTEGER NOT NULL REFERENCES photos ON DELETE CASCADE, number INTEGER NOT NULL,
  category TEXT NOT NULL, score REAL NOT NULL, turn REAL, PRIMARY KEY (photo, number)
) WITHOUT ROWID;
"""
_FACES = (
    f"SELECT faces.photo << {_NUMBER_BITS} | faces.number FROM faces"
    " JOIN photos ON photos.id = faces.photo WHERE dataset = ?"
)


class SqliteStore(Store):
    """Results in a file; may be used by several threads.

    It may be a ``STORE``, a ``RECORD`` or both, as ``kinds`` say; ``create`` makes the first where
    it is missing. Raises StoreError if it is missing, of no such kind, or of another version, and
    StoreUnavailableError if it can't be opened now.
    """

    def __init__(self, path: Path, *, create: bool, kinds: Sequence[int] = (STORE,)) -> None:
        self.name = f"sqlite:///{path}"
        self._lock = threading.RLock()
        with self._errors():
            if path.is_dir() or not path.parent.is_dir():
                what = "is a folder" if path.is_dir() else f"its folder is missing: {path.parent}"
                raise self._failure(what)
            if not create and not path.is_file():
                raise self._failure("the file does not exist")
            try:
                check_sqlite_path(path)
            except ConfigError as error:
                raise self._failure(str(error)) from error
            # Absolute: SQLite keeps nothing of a file that is named ":memory:". Transactions begin
            # where this code begins them.
            self._connection = sqlite3.connect(
                path.absolute(), timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare(create, kinds)
        except BaseException:
            self.close()
            raise

    def datasets(self) -> list[StoredDataset]:
        """Return the datasets by name."""
        rows = self._rows(
            "SELECT name, folder, (SELECT count(*) FROM photos WHERE dataset = d.id AND state = 0),"
            " (SELECT total(faces) FROM photos WHERE dataset = d.id) FROM datasets d ORDER BY name"
        )
        return [StoredDataset(name, to_text(folder), n, int(m)) for name, folder, n, m in rows]

    def folders(self, dataset: str) -> list[FolderCount]:
        """Return how much lies directly in each folder, by the bytes of its path."""
        rows = self._rows(
            "SELECT folder, count(*), sum(faces) FROM photos WHERE dataset = ? AND state = 0"
            " GROUP BY folder ORDER BY folder",
            self._id(dataset),
        )
        return [FolderCount(to_text(folder) or ".", photos, n) for folder, photos, n in rows]

    def categories(self, dataset: str) -> list[CategoryCount]:
        """Return how many faces each category has, by the bytes of its name."""
        rows = self._rows(
            "SELECT category, count(*) FROM faces JOIN photos ON photos.id = photo"
            " WHERE dataset = ? GROUP BY category ORDER BY category",
            self._id(dataset),
        )
        return [CategoryCount(name, faces) for name, faces in rows]

    def faces_of(self, dataset: str, photo: str) -> list[StoredFace]:
        """Return the faces of one photo by their number."""
        rows = self._rows(
            "SELECT id FROM photos WHERE dataset = ? AND name = ? AND state = 0",
            self._id(dataset),
            to_bytes(photo),
        )
        if not rows:
            raise self._no_photo(dataset, photo)
        return self._answers([rows[0][0]]).get(rows[0][0], [])

    def begin(self, dataset: str, folder: str, owner: str) -> None:
        """Create a dataset where it is missing, and let a run's record own it."""
        with self._transaction():
            rows = self._rows("SELECT folder, owner FROM datasets WHERE name = ?", dataset)
            if rows and rows[0][1] != owner and to_text(rows[0][0]) != folder:
                raise self._other_folder(dataset, to_text(rows[0][0]))
            self._connection.execute(
                "INSERT INTO datasets (name, folder, owner, model) VALUES (?, ?, ?, '')"
                " ON CONFLICT (name) DO UPDATE SET folder = excluded.folder,"
                " owner = excluded.owner",
                (dataset, to_bytes(folder), owner),
            )

    def apply(self, dataset: str, owner: str, changes: Sequence[Change]) -> None:
        """Change photos, all or none of them; doing it twice is the same as doing it once."""
        with self._transaction():
            rows = self._rows("SELECT id, owner FROM datasets WHERE name = ?", dataset)
            if not rows or rows[0][1] != owner:
                raise self._other_owner(dataset)
            for change in changes:
                if change.record is None:
                    self._remove(rows[0][0], change.photo)
                else:
                    self._put(rows[0][0], change.record, change.digest)

    def digests(self, dataset: str, photos: Sequence[bytes]) -> list[str]:
        """Return the digest of each of some photos; "" for one that the dataset lacks."""
        number = self._id(dataset)
        query = "SELECT digest FROM photos WHERE dataset = ? AND name = ?"
        found = (self._rows(query, number, photo) for photo in photos)
        return [rows[0][0] if rows else "" for rows in found]

    def photo_names(self, dataset: str, after: bytes, count: int) -> list[bytes]:
        """Return the next photos by the bytes of their path."""
        rows = self._rows(
            "SELECT name FROM photos WHERE dataset = ? AND name > ? ORDER BY name LIMIT ?",
            self._id(dataset),
            after,
            count,
        )
        return [name for (name,) in rows]

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _photos(self, dataset: str, min_faces: float) -> Iterator[StoredPhoto]:
        ids = self._keys(
            "SELECT id FROM photos WHERE dataset = ? AND state = 0 AND faces >= ?"
            " ORDER BY faces DESC, name",
            self._id(dataset),
            min_faces,
        )
        query = "SELECT name, width, height, channels, faces FROM photos WHERE id = ?"
        for photo in ids:
            for name, *numbers in self._rows(query, photo):
                yield StoredPhoto(to_text(name), *numbers)

    def _faces_by_score(
        self, dataset: str, min_score: float, category: str | None
    ) -> Iterator[StoredFace]:
        return self._faces(
            f"{_FACES} AND score >= ? AND coalesce(category = ?, 1) ORDER BY score DESC, name,"
            " faces.number",
            (self._id(dataset), min_score, category),
        )

    def _faces_by_turn(self, dataset: str, beyond_deg: float) -> Iterator[StoredFace]:
        return self._faces(
            f"{_FACES} AND turn > ? ORDER BY turn DESC, name, faces.number",
            (self._id(dataset), beyond_deg),
        )

    def _faces(self, query: str, values: Sequence[object]) -> Iterator[StoredFace]:
        keys = self._keys(query, *values)
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            answers = self._answers(list({key >> _NUMBER_BITS for key in page}))
            for key in page:
                faces = answers.get(key >> _NUMBER_BITS, [])  # none where just removed
                yield from faces[(key & (1 << _NUMBER_BITS) - 1) - 1 :][:1]

    def _answers(self, photos: Sequence[int]) -> dict[int, list[StoredFace]]:
        """Return the faces of photos by the photo's id."""
        marks = ",".join("?" * len(photos))
        rows = self._rows(f"SELECT photo, record FROM records WHERE photo IN ({marks})", *photos)
        return {
            photo: list(map(face_answer, face_documents(self._parsed(text))))
            for photo, text in rows
        }

    def _parsed(self, text: str) -> PhotoRecord:
        try:
            return PhotoRecord.from_json(text)
        except InputError as error:
            raise self._failure("is damaged") from error

    def _put(
        self, dataset: int, record: PhotoRecord, digest: str, number: int | None = None
    ) -> None:
        """Replace all that there is of a photo, inside a transaction."""
        name, faces, stamp = to_bytes(record.photo), record.faces, record.stamp
        self._remove(dataset, name)
        shape = (0, 0, 0, 0) if faces is None else (*faces.size_wh, faces.channels, len(faces))
        photo = self._connection.execute(
            "INSERT INTO photos (dataset, name, folder, size, mtime_ns, sha256, state, number,"
            " width, height, channels, faces, digest) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (dataset, name, folder_of(name), stamp.size, stamp.mtime_ns, stamp.sha256,
             _state(record), number, *shape, digest),
        ).lastrowid  # fmt: skip
        self._connection.execute("INSERT INTO records VALUES (?, ?)", (photo, record.to_json()))
        if faces is not None:
            self._connection.executemany(
                "INSERT INTO faces VALUES (?, ?, ?, ?, ?)",
                [(photo, *row) for row in _face_rows(faces)],
            )

    def _remove(self, dataset: int, name: bytes) -> None:
        query = "DELETE FROM photos WHERE dataset = ? AND name = ?"
        self._connection.execute(query, (dataset, name))

    def _prepare(self, create: bool, kinds: Sequence[int]) -> None:
        self._rows("PRAGMA foreign_keys = ON")  # removing a photo removes its faces
        kind, version, tables = self._marks()
        if not tables and create:
            with self._transaction():
                if not self._marks()[2]:  # another process may just have done it
                    for statement in _SCHEMA.split(";")[:-1]:
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA application_id = {kinds[0]}")
                    self._connection.execute(f"PRAGMA user_version = {VERSION}")
            kind, version, tables = self._marks()
        if kind not in kinds:
            what = "another program's database" if tables else "empty, not a store of facekit"
            known = {STORE: "a store, not the record of a run", RECORD: "the record of a run"}
            raise self._failure(f"is {known.get(kind, what)}")
        if version != VERSION:
            raise self._failure(
                f"is of version {version}, not {VERSION}; fill a new one from the same photos"
            )

    def _marks(self) -> tuple[int, int, int]:
        kind = self._rows("PRAGMA application_id")[0][0]
        version = self._rows("PRAGMA user_version")[0][0]
        return kind, version, self._rows("SELECT count(*) FROM sqlite_master")[0][0]

    def _id(self, dataset: str) -> int:
        rows = self._rows("SELECT id FROM datasets WHERE name = ?", dataset)
        if not rows:
            raise self._no_dataset(dataset)
        return int(rows[0][0])

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    def _keys(self, query: str, *values: object) -> array[int]:
        # All at once, 8 bytes each: an open question would keep a run from writing.
        with self._lock, self._errors():
            return array("q", (key for (key,) in self._connection.execute(query, values)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, full, read-only, gone
            # What follows is the text, thousands of characters.
            if str(error).startswith("Could not decode"):
                raise self._failure("is damaged") from error
            raise self._failure(str(error), for_now=True) from error
        except sqlite3.DatabaseError as error:
            raise self._failure(str(error)) from error
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error

    def _failure(self, reason: str, *, for_now: bool = False) -> FacekitError:
        """Return the error that says what is wrong with the file, and whether it may pass."""
        return (StoreUnavailableError if for_now else StoreError)(f"{self.name}: {reason}")


def _state(record: PhotoRecord) -> int:
    if record.faces is not None:
        return OK
    if record.lasting:
        return FAILED
    return VANISHED if record.error == GONE else FAILED_FOR_NOW


def _face_rows(faces: Faces) -> Iterator[tuple[int, str, float, float | None]]:
    """Yield what each face is found by: number, category, score and turn."""
    scores = rounded_list(faces.scores, SCORE_DIGITS)
    turns = [math.nan] * len(faces)
    if has_eyes(faces.points_xy.shape[1]):
        turns = rounded_list(faces.rotations_deg, PIXEL_DIGITS)
    for number, (score, turn) in enumerate(zip(scores, turns, strict=True), 1):
        name = faces.class_names[faces.labels[number - 1]] if faces.class_names else FACE
        yield number, name, score, None if math.isnan(turn) else abs(turn)
