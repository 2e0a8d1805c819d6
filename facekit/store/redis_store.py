"""A store in Redis 7, with or without its JSON and search modules.

The indexes are sorted sets and hashes of Redis itself (``facekit.store.redis_scripts``), and all
queries are answered by them, so that the answers do not depend on modules. Where the JSON module is
there when a store begins, its documents are JSON values and not texts; where the search module is
there too, each dataset has the indexes ``facekit:<dataset>:annotations`` and ``...:images`` for
searches of one's own with ``FT.SEARCH``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store.answers import CategoryCount, FolderCount, StoredDataset, to_bytes, to_text
from facekit.store.documents import Change, image_id
from facekit.store.redis_scripts import APPLY, BEGIN, prefix_of, quoted, values_of
from facekit.store.redis_search import INDEXES, index_definitions
from facekit.store.store import VERSION, Page, Position, Store

_STORE, _DATASETS = "facekit:store", "facekit:datasets"
_CONNECT_S, _ANSWER_S = 5.0, 60.0
_TEXT, _JSON = "text", "json"
_DROPPED_AT_ONCE = 200
_DATABASE = re.compile(r"/?\d*")
_LATER = ("OOM", "maxmemory", "MISCONF", "LOADING", "BUSY", "READONLY", "read only")
"""What a server says that is full, starting, busy or a replica."""


class RedisStore(Store):
    """A store in one database of a Redis server.

    Args:
        url: Address, as ``redis.Redis.from_url`` takes it.
        name: The address without a password.
        create: Whether to begin a store where the database holds none.

    Raises:
        StoreError: The address or password is wrong, or it holds no store, or one of another
            version.
        StoreUnavailableError: It does not answer.
    """

    def __init__(self, url: str, name: str, *, create: bool) -> None:
        self.name = name
        try:
            parts = urlsplit(url)
            if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
                raise ValueError("the library would take database 0")
            self._redis = redis.Redis.from_url(
                url, socket_connect_timeout=_CONNECT_S, socket_timeout=_ANSWER_S
            )
            # Answers are read as bytes, whatever the address asks for.
            pool = self._redis.connection_pool
            pool.connection_kwargs |= {"decode_responses": False, "encoding": "utf-8"}
            with self._errors():
                pool.make_connection()  # which knows its options, and does not connect yet
        except (ValueError, TypeError) as error:
            # Not the library's words, which may quote the address with its password.
            raise StoreError(f"{name}: is no address of a Redis server") from error
        self._begin = self._redis.register_script(BEGIN)
        self._apply = self._redis.register_script(APPLY)
        try:
            with self._errors():
                self._form = self._prepare(create)
        except BaseException:
            self.close()
            raise

    def datasets(self) -> list[StoredDataset]:
        """Return what the store holds, by name."""
        with self._errors():
            found = []
            for name in sorted(self._redis.smembers(_DATASETS)):
                prefix = prefix_of(to_text(name))
                folder = self._redis.hget(prefix + "meta", "folder") or b""
                photos = self._redis.zcard(prefix + "photos")
                faces = self._redis.zcard(prefix + "faces:score")
                found.append(StoredDataset(to_text(name), to_text(folder), photos, faces))
            return found

    def folders(self, dataset: str) -> list[FolderCount]:
        """Return how much lies directly in each folder, by the bytes of its path."""
        with self._of(dataset) as prefix:
            photos = self._redis.hgetall(prefix + "folders:photos")
            faces = self._redis.hgetall(prefix + "folders:faces")
            return [
                FolderCount(to_text(folder) or ".", int(photos[folder]), int(faces.get(folder, 0)))
                for folder in sorted(photos)
            ]

    def categories(self, dataset: str) -> list[CategoryCount]:
        """Return how many faces each category has, by the bytes of its name."""
        with self._of(dataset) as prefix:
            counts = {
                unquote(name.decode()): self._redis.zcard(f"{prefix}faces:category:{name.decode()}")
                for name in self._redis.smembers(prefix + "categories")
            }
        return [CategoryCount(name, counts[name]) for name in sorted(counts, key=to_bytes)]

    def begin(self, dataset: str, folder: str, journal: str) -> Position:
        """Make a dataset where it is missing, and let it follow a journal."""
        with self._errors():
            done, found = self._begin(
                keys=[_DATASETS], args=[prefix_of(dataset), dataset, to_bytes(folder), journal]
            )
            if not done:
                raise self._other_folder(dataset, to_text(found))
            if self._searches():
                self._make_search_indexes(prefix_of(dataset))
        return Position(journal, int(found))

    def position(self, dataset: str) -> Position | None:
        """Return how far a dataset follows its journal."""
        with self._errors():
            journal, offset = self._redis.hmget(prefix_of(dataset) + "meta", "journal", "offset")
        return None if journal is None else Position(journal.decode(), int(offset))

    def apply(self, dataset: str, changes: Sequence[Change], at: Position, to: Position) -> bool:
        """Change photos and move on in the journal, all at once."""
        values: list[Any] = [prefix_of(dataset), self._form]
        values += [at.journal, at.offset, to.journal, to.offset]
        for change in changes:
            values += values_of(change)
        with self._errors():
            # One script and not a transaction of several: a server that lost its scripts then
            # refuses all of it, and none of it is done.
            return bool(self._apply(args=values))

    def stored(self, dataset: str, after: bytes, count: int) -> list[tuple[bytes, str]]:
        """Return the next photos by the bytes of their path, each with its digest."""
        with self._of(dataset) as prefix:
            first = b"(" + after if after else "-"
            photos = self._redis.zrangebylex(prefix + "photos", first, "+", start=0, num=count)
            digests = self._redis.hmget(prefix + "photos:digest", photos) if photos else []
        return [(p, (d or b"").decode()) for p, d in zip(photos, digests, strict=True)]

    def drop(self, dataset: str) -> None:
        """Remove a dataset with all that belongs to it."""
        with self._of(dataset) as prefix:
            at = self.position(dataset)
            while at is not None:
                photos = self.stored(dataset, b"", _DROPPED_AT_ONCE)
                if not photos:
                    break
                if not self.apply(dataset, [Change(photo, None) for photo, _ in photos], at, at):
                    at = self.position(dataset)
            for index in INDEXES if self._searches() else ():
                self._command("FT.DROPINDEX", prefix + index)
            self._redis.delete(prefix + "meta")
            self._redis.srem(_DATASETS, dataset)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _photo_page(self, dataset: str, min_faces: float, start: int, count: int) -> Page:
        with self._of(dataset) as prefix:
            photos = self._redis.zrangebyscore(
                prefix + "photos:faces", "-inf", repr(-min_faces), start=start, num=count
            )
            return self._read([f"{prefix}image:{image_id(photo)}" for photo in photos])

    def _face_documents(self, dataset: str, photo: bytes) -> list[bytes] | None:
        with self._of(dataset) as prefix:
            faces = self._redis.zscore(prefix + "photos:faces", photo)
            if faces is None:
                return None
            name = f"{prefix}annotation:{image_id(photo)}:"
            documents = self._read([f"{name}{number}" for number in range(1, int(-faces) + 1)])
        return [document for document in documents if document is not None]

    def _score_page(
        self, dataset: str, min_score: float, category: str | None, start: int, count: int
    ) -> Page:
        index = "faces:score" if category is None else f"faces:category:{quoted(category)}"
        return self._face_page(dataset, index, repr(-min_score), start, count)

    def _turn_page(self, dataset: str, beyond_deg: float, start: int, count: int) -> Page:
        return self._face_page(dataset, "faces:turn", f"({-beyond_deg!r}", start, count)

    def _face_page(
        self, dataset: str, index: str, highest: str, start: int, count: int
    ) -> list[bytes | None]:
        with self._of(dataset) as prefix:
            faces = self._redis.zrangebyscore(
                prefix + index, "-inf", highest, start=start, num=count
            )
            parts = [face.rsplit(b"\0", 1) for face in faces]
            return self._read(
                [f"{prefix}annotation:{image_id(photo)}:{int(n)}" for photo, n in parts]
            )

    def _read(self, keys: list[str]) -> list[bytes | None]:
        if not keys:
            return []
        # The path "." gives a document as it is; "$" would give a list with it.
        texts: list[bytes | None] = (
            self._redis.mget(keys)
            if self._form == _TEXT
            else self._command("JSON.MGET", *keys, ".")
        )
        return texts

    def _prepare(self, create: bool) -> str:
        found = self._redis.hmget(_STORE, "version", "documents")
        if found[0] is None:
            if not create:
                raise StoreError(f"{self.name}: holds no results of facekit")
            chosen = _JSON if self._has("JSON.SET") else _TEXT
            # Where two begin at once, one of them decides.
            self._redis.hsetnx(_STORE, "documents", chosen)
            self._redis.hsetnx(_STORE, "version", VERSION)
            found = self._redis.hmget(_STORE, "version", "documents")
        version: str = found[0].decode()
        form: str = found[1].decode()
        if version != str(VERSION):
            raise StoreError(
                f"{self.name}: is a store of version {version}, not {VERSION}; "
                "fill another database from the same photos"
            )
        if form == _JSON and not self._has("JSON.SET"):
            raise StoreError(f"{self.name}: its documents need Redis' JSON module, which is gone")
        return form

    def _searches(self) -> bool:
        return self._form == _JSON and self._has("FT.CREATE")

    def _make_search_indexes(self, prefix: str) -> None:
        for definition in index_definitions(prefix):
            try:
                self._command("FT.CREATE", *definition)
            except redis.ResponseError as error:
                if "already exists" not in str(error).lower():
                    raise

    def _has(self, command: str) -> bool:
        # Not MODULE LIST, which is for administrators. Two words, or the library reads the answer.
        return bool([each for each in self._command("COMMAND INFO", command) or () if each])

    def _command(self, *words: Any) -> Any:
        return self._redis.execute_command(*words)

    @contextmanager
    def _of(self, dataset: str) -> Iterator[str]:
        """Give the prefix of a dataset that is there."""
        with self._errors():
            if not self._redis.sismember(_DATASETS, dataset):
                raise StoreError(f"{self.name}: holds no dataset {dataset}")
            yield prefix_of(dataset)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
            raise StoreError(f"{self.name}: the name or password is refused") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise StoreUnavailableError(f"{self.name}: does not answer: {error}") from error
        except redis.ResponseError as error:
            text = str(error)
            if any(word in text for word in ("NOAUTH", "WRONGPASS", "uthentication required")):
                raise StoreError(f"{self.name}: the name or password is refused") from error
            mended = any(word in text for word in _LATER)
            kind = StoreUnavailableError if mended else StoreError
            raise kind(f"{self.name}: {text}") from error
        except redis.RedisError as error:
            raise StoreError(f"{self.name}: {error}") from error
