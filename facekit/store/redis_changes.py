r"""What changes in Redis with a photo: its documents, and the indexes that they are found by.

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

A face is ``<path>\0<number of six digits>``. Sorted sets have negative values, so that Redis' own
order, by value and then by bytes, is the order of the answers.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from facekit.store.documents import (
    category_documents,
    face_documents,
    folder_of,
    image_document,
    image_id,
    to_json,
)
from facekit.store.store import Change


class Changes:
    """Queues the commands that change photos, in one transaction.

    The pipeline watches the dataset's ``meta``: what is read here is changed by no other run, or
    nothing is done. All keys of the dataset begin with ``prefix``; with ``as_json`` documents are
    values of the JSON module, not texts.
    """

    def __init__(self, pipe: Any, prefix: str, *, as_json: bool) -> None:
        self._pipe, self._prefix, self._as_json = pipe, prefix, as_json

    def queue(self, changes: Mapping[bytes, Change]) -> None:
        """Queue changes by the photos' paths."""
        pipe, prefix = self._pipe, self._prefix
        paths, folders = list(changes), sorted({folder_of(path) for path in changes})
        scores = pipe.zmscore(prefix + "photos:faces", paths)
        before = {path: int(-n) for path, n in zip(paths, scores, strict=True) if n is not None}
        photos, faces = (
            Counter(dict(zip(folders, (int(number or 0) for number in numbers), strict=True)))
            for numbers in (
                pipe.hmget(prefix + "folders:photos", folders),
                pipe.hmget(prefix + "folders:faces", folders),
            )
        )
        categories = pipe.smembers(prefix + "categories")
        pipe.multi()
        for path, count in before.items():
            photos[folder_of(path)] -= 1
            faces[folder_of(path)] -= count
            self._remove(path, count, categories)
        for path, change in changes.items():
            if change.record is not None:
                photos[folder_of(path)] += 1
                faces[folder_of(path)] += self._put(change)
        for folder in folders:
            for name, number in (("photos", photos[folder]), ("faces", faces[folder])):
                if photos[folder]:
                    pipe.hset(f"{prefix}folders:{name}", folder, number)
                else:
                    pipe.hdel(f"{prefix}folders:{name}", folder)

    def queue_empty_categories(self) -> None:
        """Queue the removal of categories that no face has any more."""
        pipe, prefix = self._pipe, self._prefix
        names = [name.decode() for name in pipe.smembers(prefix + "categories")]
        empty = [name for name in names if not pipe.exists(f"{prefix}faces:category:{name}")]
        pipe.multi()
        for name in empty:
            pipe.srem(prefix + "categories", name)
            pipe.delete(f"{prefix}category:{name}")

    def _put(self, change: Change) -> int:
        """Queue the commands that write a photo, and return how many faces it has."""
        pipe, prefix, path, record = self._pipe, self._prefix, change.photo, change.record
        assert record is not None
        documents = face_documents(record)
        self._write(key_of(prefix, path), image_document(record))
        used = {document["category"] for document in documents}
        for category in category_documents(record):
            if category["name"] in used:
                name = quoted(category["name"])
                pipe.sadd(prefix + "categories", name)
                self._write(f"{prefix}category:{name}", category)
        for number, document in enumerate(documents, 1):
            face, lower = face_name(path, number), -document["score"]
            self._write(key_of(prefix, face), document)
            pipe.zadd(prefix + "faces:score", {face: lower})
            pipe.zadd(f"{prefix}faces:category:{quoted(document['category'])}", {face: lower})
            if "rotation" in document:
                pipe.zadd(prefix + "faces:turn", {face: -abs(document["rotation"])})
        pipe.zadd(prefix + "photos", {path: 0})
        pipe.zadd(prefix + "photos:faces", {path: -len(documents)})
        pipe.hset(prefix + "photos:digest", path, change.digest)
        return len(documents)

    def _remove(self, path: bytes, count: int, categories: set[bytes]) -> None:
        pipe, prefix = self._pipe, self._prefix
        faces = [face_name(path, number) for number in range(1, count + 1)]
        pipe.delete(*(key_of(prefix, name) for name in (path, *faces)))
        indexes = [f"faces:category:{name.decode()}" for name in categories]
        for index in ("faces:score", "faces:turn", *indexes) if count else ():
            pipe.zrem(prefix + index, *faces)
        for index in ("photos", "photos:faces"):
            pipe.zrem(prefix + index, path)
        pipe.hdel(prefix + "photos:digest", path)

    def _write(self, key: str, document: dict[str, Any]) -> None:
        if self._as_json:
            self._pipe.execute_command("JSON.SET", key, "$", to_json(document))
        else:
            self._pipe.set(key, to_json(document))


def face_name(path: bytes, number: int) -> bytes:
    """Return what a face is called in the indexes."""
    return b"%s\0%06d" % (path, number)


def key_of(prefix: str, name: bytes) -> str:
    """Return the key of a photo's or a face's document."""
    path, _, number = name.partition(b"\0")
    if number:
        return f"{prefix}annotation:{image_id(path)}:{int(number)}"
    return f"{prefix}image:{image_id(path)}"


def prefix_of(dataset: str) -> str:
    """Return what all keys of a dataset begin with."""
    return f"facekit:{quoted(dataset)}:"


def quoted(name: str) -> str:
    """Return a name as a part of a key."""
    return quote(name, safe="")
