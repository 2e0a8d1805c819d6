r"""A store in Redis 7, with or without its JSON and search modules.

Keys, all under ``facekit:<dataset>:`` (the name percent-encoded):

==========================  ==========  =========================================================
``meta``                    hash        ``folder``, ``journal``: id of the record that owns it
``image:<id>``              document    one image
``annotation:<id>:<n>``     document    the n-th face of the image
``category:<name>``         document    one category (its name percent-encoded)
``photos``                  sorted set  paths, all of score 0: in the order of their bytes
``photos:digest``           hash        path -> digest
``photos:faces``            sorted set  path, by faces
``folders:photos``          hash        folder -> photos
``folders:faces``           hash        folder -> faces
``faces:score``             sorted set  face, by score
``faces:turn``              sorted set  face, by its angle from upright
``categories``              set         names (percent-encoded)
``faces:category:<name>``   sorted set  the faces of a category, by score
==========================  ==========  =========================================================

A face is ``<path>\0<number of six digits>``. Sorted sets hold negative values, so that Redis' own
order, by value and then by bytes, is the order of the answers. All queries are answered by these
indexes, so that the answers do not depend on modules. Where the JSON module is there when a store
begins, its documents are JSON values and not texts; where the search module is there too, each
dataset has the indexes ``facekit:<dataset>:annotations`` and ``...:images`` for searches of one's
own with ``FT.SEARCH``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import redis

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store.documents import (
    category_documents,
    face_documents,
    folder_of,
    image_document,
    image_id,
    to_json,
)
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
    """A store in one database of a Redis server.

    Args:
        url: Address, as ``redis.Redis.from_url`` takes it.
        name: The address without a password.
        create: Whether to begin a store where the database has none.

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
                prefix = _prefix(to_text(name))
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
            name = f"{prefix}annotation:{image_id(path)}:"
            documents = self._read([f"{name}{number}" for number in range(1, int(-faces) + 1)])
        return [face_answer(json.loads(document)) for document in documents]

    def begin(self, dataset: str, folder: str, owner: str) -> None:
        """Create a dataset where it is missing, and let a run's record own it."""
        meta = _prefix(dataset) + "meta"
        with self._watching(meta, dataset) as (pipe, found):
            known = pipe.hget(meta, "folder")
            if known is not None and found != owner.encode() and known != to_bytes(folder):
                raise self._other_folder(dataset, to_text(known))
            pipe.multi()
            pipe.hset(meta, mapping={"folder": to_bytes(folder), "journal": owner})
            pipe.sadd(_DATASETS, dataset)
        with self._errors():
            for name, (keys, tags, numbers) in _INDEXES.items() if self._searches() else ():
                self._make_index(_prefix(dataset), name, keys, tags, numbers)

    def apply(self, dataset: str, owner: str, changes: Sequence[Change]) -> None:
        """Change photos, all or none of them; doing it twice is the same as doing it once."""
        prefix = _prefix(dataset)
        last = {change.photo: change for change in changes}
        with self._watching(prefix + "meta", dataset) as (pipe, found):
            if found != owner.encode():
                raise self._other_owner(dataset)
            if not last:
                return
            # Nobody else changes what is read here: that would be another owner.
            before = _Before(pipe, prefix, list(last))
            pipe.multi()
            photos, faces = Counter(before.photos), Counter(before.faces)
            for path, count in before.counts.items():
                photos[folder_of(path)] -= 1
                faces[folder_of(path)] -= count
                self._remove(pipe, prefix, path, count, before.categories)
            for path, change in last.items():
                if change.record is not None:
                    count = self._put(pipe, prefix, change)
                    photos[folder_of(path)] += 1
                    faces[folder_of(path)] += count
            for folder in {folder_of(path) for path in last}:
                for name, number in (("photos", photos[folder]), ("faces", faces[folder])):
                    if photos[folder]:
                        pipe.hset(f"{prefix}folders:{name}", folder, number)
                    else:
                        pipe.hdel(f"{prefix}folders:{name}", folder)
        self._drop_empty_categories(dataset, owner)

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
        def keys(prefix: str, photos: list[bytes]) -> list[str]:
            return [f"{prefix}image:{image_id(photo)}" for photo in photos]

        documents = self._documents(dataset, "photos:faces", repr(-min_faces), keys)
        return map(photo_answer, documents)

    def _faces_by_score(
        self, dataset: str, min_score: float, category: str | None
    ) -> Iterator[StoredFace]:
        index = "faces:score" if category is None else f"faces:category:{_quoted(category)}"
        return self._faces(dataset, index, repr(-min_score))

    def _faces_by_turn(self, dataset: str, beyond_deg: float) -> Iterator[StoredFace]:
        return self._faces(dataset, "faces:turn", f"({-beyond_deg!r}")

    def _faces(self, dataset: str, index: str, highest: str) -> Iterator[StoredFace]:
        def keys(prefix: str, faces: list[bytes]) -> list[str]:
            parts = [face.rsplit(b"\0", 1) for face in faces]
            return [f"{prefix}annotation:{image_id(photo)}:{int(n)}" for photo, n in parts]

        documents = self._documents(dataset, index, highest, keys)
        return (face_answer(json.loads(document)) for document in documents)

    def _documents(
        self,
        dataset: str,
        index: str,
        highest: str,
        keys: Callable[[str, list[bytes]], list[str]],
    ) -> Iterator[bytes]:
        """Yield documents in the order of an index, in pages, each as the store is by then."""
        for start in range(0, 1 << 62, _PAGE):
            with self._of(dataset) as prefix:
                names = self._redis.zrangebyscore(
                    prefix + index, "-inf", highest, start=start, num=_PAGE
                )
                page = self._read(keys(prefix, names))
            yield from page
            if len(names) < _PAGE:
                return

    def _read(self, keys: list[str]) -> list[bytes]:
        """Return documents, without those that another run has just removed."""
        if not keys:
            return []
        # The path "." gives a document as it is; "$" would give a list with it.
        texts = (
            self._redis.mget(keys)
            if self._form == _TEXT
            else self._command("JSON.MGET", *keys, ".")
        )
        return [text for text in texts if text is not None]

    def _put(self, pipe: Any, prefix: str, change: Change) -> int:
        """Add the commands that write a photo, and return how many faces it has."""
        record, path = change.record, change.photo
        assert record is not None
        image, documents = image_id(path), face_documents(record)
        self._write(pipe, f"{prefix}image:{image}", image_document(record))
        used = {document["category"] for document in documents}
        for category in category_documents(record):
            if category["name"] in used:
                name = _quoted(category["name"])
                pipe.sadd(prefix + "categories", name)
                self._write(pipe, f"{prefix}category:{name}", category)
        for number, document in enumerate(documents, 1):
            face, lower = _face(path, number), -document["score"]
            self._write(pipe, f"{prefix}annotation:{image}:{number}", document)
            pipe.zadd(prefix + "faces:score", {face: lower})
            pipe.zadd(f"{prefix}faces:category:{_quoted(document['category'])}", {face: lower})
            if "rotation" in document:
                pipe.zadd(prefix + "faces:turn", {face: -abs(document["rotation"])})
        pipe.zadd(prefix + "photos", {path: 0})
        pipe.zadd(prefix + "photos:faces", {path: -len(documents)})
        pipe.hset(prefix + "photos:digest", path, change.digest)
        return len(documents)

    def _remove(
        self, pipe: Any, prefix: str, path: bytes, count: int, categories: list[bytes]
    ) -> None:
        image = image_id(path)
        numbers = range(1, count + 1)
        documents = [f"{prefix}annotation:{image}:{number}" for number in numbers]
        pipe.delete(f"{prefix}image:{image}", *documents)
        indexes = [f"faces:category:{name.decode()}" for name in categories]
        for index in ("faces:score", "faces:turn", *indexes) if count else ():
            pipe.zrem(prefix + index, *(_face(path, number) for number in numbers))
        for index in ("photos", "photos:faces"):
            pipe.zrem(prefix + index, path)
        pipe.hdel(prefix + "photos:digest", path)

    def _write(self, pipe: Any, key: str, document: dict[str, Any]) -> None:
        if self._form == _JSON:
            pipe.execute_command("JSON.SET", key, "$", to_json(document))
        else:
            pipe.set(key, to_json(document))

    def _drop_empty_categories(self, dataset: str, owner: str) -> None:
        prefix = _prefix(dataset)
        with self._watching(prefix + "meta", dataset) as (pipe, found):
            names = [name.decode() for name in pipe.smembers(prefix + "categories")]
            empty = [name for name in names if not pipe.exists(f"{prefix}faces:category:{name}")]
            pipe.multi()
            for name in empty if found == owner.encode() else ():
                pipe.srem(prefix + "categories", name)
                pipe.delete(f"{prefix}category:{name}")

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

    def _searches(self) -> bool:
        return self._form == _JSON and self._has("FT.CREATE")

    def _make_index(
        self, prefix: str, name: str, keys: str, tags: Sequence[str], numbers: Sequence[str]
    ) -> None:
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
            yield _prefix(dataset)

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


class _Before:
    """What a dataset has of some photos before they change.

    Attributes:
        counts: Faces of those photos that are there.
        photos: Number of photos by folder, for the photos' folders.
        faces: Number of faces by folder.
        categories: Names of all categories, percent-encoded.
    """

    def __init__(self, pipe: Any, prefix: str, paths: list[bytes]) -> None:
        scores = pipe.zmscore(prefix + "photos:faces", paths)
        there = zip(paths, scores, strict=True)
        self.counts = {path: int(-score) for path, score in there if score is not None}
        folders = sorted({folder_of(path) for path in paths})
        self.photos, self.faces = (
            dict(zip(folders, (int(number or 0) for number in numbers), strict=True))
            for numbers in (
                pipe.hmget(prefix + "folders:photos", folders),
                pipe.hmget(prefix + "folders:faces", folders),
            )
        )
        self.categories: list[bytes] = sorted(pipe.smembers(prefix + "categories"))


def _face(path: bytes, number: int) -> bytes:
    return b"%s\0%06d" % (path, number)


def _prefix(dataset: str) -> str:
    """Return what all keys of a dataset begin with."""
    return f"facekit:{_quoted(dataset)}:"


def _quoted(name: str) -> str:
    """Return a name as a part of a key."""
    return quote(name, safe="")
