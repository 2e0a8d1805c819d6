"""A store in one SQLite file: the documents as they are, beside the columns they are found by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from facekit.errors import ConfigError, StoreError, StoreUnavailableError
from facekit.files import check_sqlite_path
from facekit.store.answers import CategoryCount, FolderCount, StoredDataset, to_bytes, to_text
from facekit.store.documents import Change, folder_of
from facekit.store.sqlite_schema import APPLICATION, SCHEMA
from facekit.store.store import VERSION, Page, Position, Store

_BUSY_S = 20.0


class SqliteStore(Store):
    """A store in a file.

    Args:
        path: The file.
        create: Whether to make it where it is missing.

    Raises:
        StoreError: It is missing, no store, or one of another version.
        StoreUnavailableError: It can't be opened now.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.name = f"sqlite:///{path}"
        with self._errors():
            if path.is_dir() or not path.parent.is_dir():
                what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
                raise StoreError(f"{self.name}: {what}")
            if not create and not path.is_file():
                raise StoreError(f"{self.name}: there is no such file")
            try:
                check_sqlite_path(path)
            except ConfigError as error:
                raise StoreError(str(error)) from error
            # Absolute: ":memory:" alone is a name that SQLite forgets all behind. Transactions
            # begin where this code says so.
            self._connection = sqlite3.connect(
                path.absolute(), timeout=_BUSY_S, isolation_level=None
            )
        try:
            self._prepare(create)
        except BaseException:
            self.close()
            raise

    def datasets(self) -> list[StoredDataset]:
        """Return what the store holds, by name."""
        rows = self._rows(
            "SELECT name, folder, (SELECT count(*) FROM images WHERE dataset = datasets.id),"
            " (SELECT total(faces) FROM images WHERE dataset = datasets.id)"
            " FROM datasets ORDER BY name"
        )
        return [StoredDataset(name, to_text(folder), n, int(m)) for name, folder, n, m in rows]

    def folders(self, dataset: str) -> list[FolderCount]:
        """Return how much lies directly in each folder, by the bytes of its path."""
        rows = self._rows(
            "SELECT folder, count(*), sum(faces) FROM images WHERE dataset = ?"
            " GROUP BY folder ORDER BY folder",
            self._id(dataset),
        )
        return [FolderCount(to_text(folder) or ".", photos, n) for folder, photos, n in rows]

    def categories(self, dataset: str) -> list[CategoryCount]:
        """Return how many faces each category has, by the bytes of its name."""
        rows = self._rows(
            "SELECT category, count(*) FROM annotations WHERE dataset = ?"
            " GROUP BY category ORDER BY category",
            self._id(dataset),
        )
        return [CategoryCount(name, faces) for name, faces in rows]

    def begin(self, dataset: str, folder: str, journal: str) -> Position:
        """Make a dataset where it is missing, and let it follow a journal."""
        with self._transaction():
            rows = self._rows(
                "SELECT folder, journal, position FROM datasets WHERE name = ?", dataset
            )
            if rows and rows[0][1] != journal and to_text(rows[0][0]) != folder:
                raise self._other_folder(dataset, to_text(rows[0][0]))
            offset = rows[0][2] if rows and rows[0][1] == journal else 0
            self._connection.execute(
                "INSERT INTO datasets (name, folder, journal, position) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET folder = excluded.folder,"
                " journal = excluded.journal, position = excluded.position",
                (dataset, to_bytes(folder), journal, offset),
            )
        return Position(journal, offset)

    def position(self, dataset: str) -> Position | None:
        """Return how far a dataset follows its journal."""
        rows = self._rows("SELECT journal, position FROM datasets WHERE name = ?", dataset)
        return Position(*rows[0]) if rows else None

    def apply(self, dataset: str, changes: Sequence[Change], at: Position, to: Position) -> bool:
        """Change photos and move on in the journal, all at once."""
        with self._transaction():
            moved = self._connection.execute(
                "UPDATE datasets SET journal = ?, position = ?"
                " WHERE name = ? AND journal = ? AND position = ?",
                (to.journal, to.offset, dataset, at.journal, at.offset),
            )
            if not moved.rowcount:
                return False
            number = self._id(dataset)
            for change in changes:
                self._put(number, change)
            self._connection.execute(
                "DELETE FROM categories WHERE dataset = ?1 AND NOT EXISTS (SELECT 1 FROM"
                " annotations WHERE dataset = ?1 AND category = categories.name)",
                (number,),
            )
        return True

    def stored(self, dataset: str, after: bytes, count: int) -> list[tuple[bytes, str]]:
        """Return the next photos by the bytes of their path, each with its digest."""
        return self._rows(
            "SELECT photo, digest FROM images WHERE dataset = ? AND photo > ?"
            " ORDER BY photo LIMIT ?",
            self._id(dataset),
            after,
            count,
        )

    def drop(self, dataset: str) -> None:
        """Remove a dataset with all that belongs to it."""
        with self._transaction():
            number = self._id(dataset)
            for table in ("annotations", "images", "categories"):
                self._connection.execute(f"DELETE FROM {table} WHERE dataset = ?", (number,))
            self._connection.execute("DELETE FROM datasets WHERE id = ?", (number,))

    def close(self) -> None:
        """Close the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _photo_page(self, dataset: str, min_faces: float, start: int, count: int) -> Page:
        return self._documents(
            "images WHERE dataset = ? AND faces >= ? ORDER BY faces DESC, photo",
            (self._id(dataset), min_faces, count, start),
        )

    def _face_documents(self, dataset: str, photo: bytes) -> list[str] | None:
        number = self._id(dataset)
        images = "SELECT 1 FROM images WHERE dataset = ? AND photo = ?"
        if not self._rows(images, number, photo):
            return None
        return self._documents(
            "annotations WHERE dataset = ? AND photo = ? ORDER BY number", (number, photo, -1, 0)
        )

    def _score_page(
        self, dataset: str, min_score: float, category: str | None, start: int, count: int
    ) -> Page:
        only = "" if category is None else " AND category = ?"
        return self._documents(
            f"annotations WHERE dataset = ?{only} AND score >= ?"
            " ORDER BY score DESC, photo, number",
            (self._id(dataset), *([] if category is None else [category]), min_score, count, start),
        )

    def _turn_page(self, dataset: str, beyond_deg: float, start: int, count: int) -> Page:
        return self._documents(
            "annotations WHERE dataset = ? AND turn IS NOT NULL AND turn > ?"
            " ORDER BY turn DESC, photo, number",
            (self._id(dataset), beyond_deg, count, start),
        )

    def _documents(self, what: str, values: tuple[Any, ...]) -> list[str]:
        rows = self._rows(f"SELECT document FROM {what} LIMIT ? OFFSET ?", *values)
        return [document for (document,) in rows]

    def _put(self, dataset: int, change: Change) -> None:
        key = (dataset, change.photo)
        for table in ("annotations", "images"):
            self._connection.execute(f"DELETE FROM {table} WHERE dataset = ? AND photo = ?", key)
        new = change.documents
        if new is None:
            return
        self._connection.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)",
            (*key, folder_of(change.photo), len(new.faces), new.digest, new.image),
        )
        self._connection.executemany(
            "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (*key, number, face.category, face.score, face.turn_deg, face.text)
                for number, face in enumerate(new.faces, 1)
            ],
        )
        self._connection.executemany(
            "INSERT INTO categories VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET document = excluded.document",
            [(dataset, name, text) for name, text in new.categories.items()],
        )

    def _prepare(self, create: bool) -> None:
        application, version, tables = self._marks()
        if not tables and create:
            with self._transaction():
                if not self._marks()[2]:  # another process may just have done it
                    for statement in SCHEMA.split(";")[:-1]:
                        self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    self._connection.execute(f"PRAGMA user_version = {VERSION}")
            application, version, tables = self._marks()
        if application != APPLICATION:
            what = "is another program's database" if tables else "is empty, no store of facekit"
            raise StoreError(f"{self.name}: {what}")
        if version != VERSION:
            raise StoreError(
                f"{self.name}: is a store of version {version}, not {VERSION}; "
                "fill a new one from the same photos"
            )

    def _marks(self) -> tuple[int, int, int]:
        application = self._rows("PRAGMA application_id")[0][0]
        version = self._rows("PRAGMA user_version")[0][0]
        return application, version, self._rows("SELECT count(*) FROM sqlite_master")[0][0]

    def _id(self, dataset: str) -> int:
        rows = self._rows("SELECT id FROM datasets WHERE name = ?", dataset)
        if not rows:
            raise StoreError(f"{self.name}: holds no dataset {dataset}")
        return int(rows[0][0])

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
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
            # What follows is the document, thousands of signs.
            if str(error).startswith("Could not decode"):
                raise StoreError(f"{self.name}: is damaged") from error
            raise StoreUnavailableError(f"{self.name}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.name}: {error}") from error
        except OSError as error:
            raise StoreError(f"{self.name}: {error.strerror}") from error
