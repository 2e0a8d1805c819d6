"""A store in Redis 7, with or without its JSON and search modules.

All queries are answered by indexes of Redis itself (``facekit.store.redis_changes``), so that the
answers do not depend on modules. Where the JSON module is there when a store begins, its documents
are JSON values and not texts; where the search module is there too, each dataset has the indexes
``facekit:<dataset>:annotations`` and ``...:images`` for searches of one's own with ``FT.SEARCH``.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store.redis_changes import Changes, face_name, key_of, prefix_of, quoted
from facekit.store.store import (
    CategoryCount,
    Change,
    FolderCount,
    Store,
    StoredDataset,
    StoredFace,
    StoredPhoto,
    face_answer,
    photo_answer,
    to_bytes,
    to_text,
)

VERSION = 1
"""Of the keys and documents."""
_STORE, _DATASETS = "facekit:store", "facekit:datasets"
_CONNECT_S, _ANSWER_S = 5.0, 60.0
_PAGE = 500
_TEXT, _JSON = "text", "json"
_DATABASE = re.compile(r"/?\d*")
_LATER = ("OOM", "maxmemory", "MISCONF", "LOADING", "BUSY", "READONLY", "read only")
"""What a server says that is full, starting, busy or a replica."""
_INDEXES = {
    "annotations": ("annotation:", ("file_name", "folder", "category"), ("score", "rotation")),
    "images": ("image:", ("file_name", "folder"), ("width", "height", "faces")),
}
"""Of the search module: what their documents' keys begin with, their tags and their numbers."""


class RedisStore(Store):
    """A store in one database of a Redis server, which ``create`` begins where there is none.

    Args:
        url: Address, as ``redis.Redis.from_url`` takes it.
        name: The address without a password.

    Raises:
        StoreError: The address or password is wrong, or there is no store, or one of another
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
            raise StoreError(f"{name}: is not an address of a Redis server") from error
        try:
            with self._errors():
                self._form = self._prepare(create)
        except BaseException:
            self.close()
            raise

    def datasets(self) -> list[StoredDataset]:
        """Return the datasets by name."""
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
        names = sorted(filter(counts.get, counts), key=to_bytes)
        return [CategoryCount(name, counts[name]) for name in names]

    def faces_of(self, dataset: str, photo: str) -> list[StoredFace]:
        """Return the faces of one photo by their number."""
        path = to_bytes(photo)
        with self._of(dataset) as prefix:
            faces = self._redis.zscore(prefix + "photos:faces", path)
            if faces is None:
                raise self._no_photo(dataset, photo)
            numbers = range(1, int(-faces) + 1)
            documents = self._read([key_of(prefix, face_name(path, number)) for number in numbers])
        return list(map(face_answer, documents))

    def begin(self, dataset: str, folder: str, owner: str) -> None:
        """Create a dataset where it is missing, and let a run's record own it."""
        meta = prefix_of(dataset) + "meta"
        with self._watching(meta, dataset) as (pipe, found):
            known = pipe.hget(meta, "folder")
            if known is not None and found != owner.encode() and known != to_bytes(folder):
                raise self._other_folder(dataset, to_text(known))
            pipe.multi()
            pipe.hset(meta, mapping={"folder": to_bytes(folder), "journal": owner})
            pipe.sadd(_DATASETS, dataset)
        with self._errors():
            if self._form == _JSON and self._has("FT.CREATE"):
                self._make_indexes(prefix_of(dataset))

    def apply(self, dataset: str, owner: str, changes: Sequence[Change]) -> None:
        """Change photos, all or none of them; doing it twice is the same as doing it once."""
        prefix = prefix_of(dataset)
        last = {change.photo: change for change in changes}
        with self._watching(prefix + "meta", dataset) as (pipe, found):
            if found != owner.encode():
                raise self._other_owner(dataset)
            if not last:
                return
            Changes(pipe, prefix, as_json=self._form == _JSON).queue(last)
        with self._watching(prefix + "meta", dataset) as (pipe, found):
            if found == owner.encode():
                Changes(pipe, prefix, as_json=self._form == _JSON).queue_empty_categories()

    def digests(self, dataset: str, photos: Sequence[bytes]) -> list[str]:
        """Return the digest of each of some photos; "" for one that the dataset lacks."""
        with self._of(dataset) as prefix:
            found = self._redis.hmget(prefix + "photos:digest", photos) if photos else []
        return [(each or b"").decode() for each in found]

    def photo_names(self, dataset: str, after: bytes, count: int) -> list[bytes]:
        """Return the next photos by the bytes of their path."""
        with self._of(dataset) as prefix:
            first = b"(" + after if after else "-"
            names: list[bytes] = self._redis.zrangebylex(
                prefix + "photos", first, "+", start=0, num=count
            )
        return names

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _photos(self, dataset: str, min_faces: float) -> Iterator[StoredPhoto]:
        return map(photo_answer, self._documents(dataset, "photos:faces", repr(-min_faces)))

    def _faces_by_score(
        self, dataset: str, min_score: float, category: str | None
    ) -> Iterator[StoredFace]:
        index = "faces:score" if category is None else f"faces:category:{quoted(category)}"
        return map(face_answer, self._documents(dataset, index, repr(-min_score)))

    def _faces_by_turn(self, dataset: str, beyond_deg: float) -> Iterator[StoredFace]:
        return map(face_answer, self._documents(dataset, "faces:turn", f"({-beyond_deg!r}"))

    def _documents(self, dataset: str, index: str, highest: str) -> Iterator[dict[str, Any]]:
        """Yield documents in the order of an index, in pages, each as the store is by then."""
        for start in range(0, 1 << 62, _PAGE):
            with self._of(dataset) as prefix:
                names = self._redis.zrangebyscore(
                    prefix + index, "-inf", highest, start=start, num=_PAGE
                )
                page = self._read([key_of(prefix, name) for name in names])
            yield from page
            if len(names) < _PAGE:
                return

    def _read(self, keys: list[str]) -> list[dict[str, Any]]:
        """Return documents, without those that another run has just removed."""
        if not keys:
            return []
        # The path "." gives a document as it is; "$" would give a list with it.
        texts = (
            self._redis.mget(keys)
            if self._form == _TEXT
            else self._command("JSON.MGET", *keys, ".")
        )
        return [json.loads(text) for text in texts if text is not None]

    @contextmanager
    def _watching(self, meta: str, dataset: str) -> Iterator[tuple[Any, bytes | None]]:
        """Give a pipeline and the present owner; what is queued is done if no other takes over."""
        with self._errors(), self._redis.pipeline() as pipe:
            pipe.watch(meta)
            found = pipe.hget(meta, "journal")
            yield pipe, found
            try:
                pipe.execute()
            except redis.WatchError as error:
                if self._redis.hget(meta, "journal") != found:
                    raise self._other_owner(dataset) from error
                reason = "the connection was lost, or another run began meanwhile"
                raise StoreUnavailableError(f"{self.name}: {reason}") from error

    def _prepare(self, create: bool) -> str:
        found = self._redis.hmget(_STORE, "version", "documents")
        if found[0] is None:
            if not create:
                raise StoreError(f"{self.name}: does not contain results of facekit")
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
            raise StoreError(
                f"{self.name}: its documents need Redis' JSON module, which is missing now"
            )
        return form

    def _make_indexes(self, prefix: str) -> None:
        for name, (keys, tags, numbers) in _INDEXES.items():
            words = [prefix + name, "ON", "JSON", "PREFIX", "1", prefix + keys, "SCHEMA"]
            for field in tags:
                words += [f"$.{field}", "AS", field, "TAG", "CASESENSITIVE"]
            for field in numbers:
                words += [f"$.{field}", "AS", field, "NUMERIC", "SORTABLE"]
            try:
                self._command("FT.CREATE", *words)
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
        """Give the prefix of a dataset that exists."""
        with self._errors():
            if not self._redis.sismember(_DATASETS, dataset):
                raise self._no_dataset(dataset)
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
            # A pipeline's error begins with its command, which may be a document.
            text = str(error).rpartition("caused error: ")[2]
            if any(word in text for word in ("NOAUTH", "WRONGPASS", "uthentication required")):
                raise StoreError(f"{self.name}: the name or password is refused") from error
            temporary = any(word in text for word in _LATER)
            kind = StoreUnavailableError if temporary else StoreError
            raise kind(f"{self.name}: {text}") from error
        except redis.RedisError as error:
            raise StoreError(f"{self.name}: {error}") from error
