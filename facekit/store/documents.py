"""The documents of a store: JSON, one for each image, annotation and category.

They are the entries of a COCO file with the seed fields (``facekit.annotations.coco``), except that

- ``id`` and ``image_id`` are texts made from the photo's path. A COCO file numbers its photos, and
  those numbers shift when a photo is added; these never do, so that a document changes only when
  its own photo does. ``file_name`` joins the two.
- an image also has ``folder``, where it lies under the photo folder, and ``faces``, their number.
- an annotation also has ``file_name``, ``folder``, ``category`` (the name that its
  ``category_id`` has) and ``number``, its place in the photo from 1. ``rotation`` and ``center``
  are left out where they are unknown.
- a file name that is no UTF-8 has signs of replacement, and its bytes in ``file_name_hex``.

A category is there as long as there are faces of it, and known by its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from facekit.annotations.coco import annotation_entries, category_entries, image_entry
from facekit.annotations.dataset import DatasetInfo, Layout
from facekit.annotations.record import PhotoRecord
from facekit.store.answers import to_bytes

_ID_BYTES = 10


@dataclass(frozen=True)
class FaceDocument:
    """One annotation and what it is found by.

    Attributes:
        text: JSON.
        score: In [0, 1].
        turn_deg: Angle from upright, 0 to 180; None if unknown.
        category: Name.
    """

    text: str
    score: float
    turn_deg: float | None
    category: str


@dataclass(frozen=True)
class PhotoDocuments:
    """One photo's documents and what they are found by.

    Attributes:
        digest: Changes when anything of the photo changes.
        image: JSON.
        faces: In the photo's order.
        categories: JSON by the name of each category that one of the faces has.
    """

    digest: str
    image: str
    faces: tuple[FaceDocument, ...]
    categories: dict[str, str]


@dataclass(frozen=True)
class Change:
    """What is to become of a photo.

    Attributes:
        photo: The bytes of its path under the photo folder.
        documents: What takes the place of all that the store has of it; None for nothing.
    """

    photo: bytes
    documents: PhotoDocuments | None


def image_id(photo: bytes) -> str:
    """Return the id of the image of a path: 20 hexadecimal digits."""
    return blake2b(photo, digest_size=_ID_BYTES).hexdigest()


def folder_of(photo: bytes) -> bytes:
    """Return where a photo lies under the photo folder; b"" for that folder itself."""
    return photo.rpartition(b"/")[0]


def change(record: PhotoRecord) -> Change:
    """Return what a record makes of its photo: one that failed has no documents."""
    photo = to_bytes(record.photo)
    if record.faces is None:
        return Change(photo, None)
    name = _name(photo)
    image = image_id(photo)
    entry = image_entry(0, "", record.faces, True) | {"id": image} | name
    entry |= {"folder": _shown(folder_of(photo)), "faces": len(record.faces)}
    categories = _categories(record.faces.points_xy.shape[1], record.faces.class_names)
    faces = []
    for number, annotation in enumerate(annotation_entries(record.faces, 1, 0, True), 1):
        category = categories[annotation["category_id"] - 1][0]
        annotation |= {"id": f"{image}:{number}", "image_id": image, "number": number} | name
        annotation |= {"folder": entry["folder"], "category": category}
        known = {key: value for key, value in annotation.items() if value is not None}
        turn = known.get("rotation")
        faces.append(
            FaceDocument(
                _json(known), known["score"], None if turn is None else abs(turn), category
            )
        )
    used = {face.category for face in faces}
    return Change(
        photo,
        PhotoDocuments(
            digest(record),
            _json(entry),
            tuple(faces),
            {name: text for name, text in categories if name in used},
        ),
    )


def digest(record: PhotoRecord) -> str:
    """Return a digest of the faces that a record holds: what a store's documents are made of."""
    faces = record.faces
    assert faces is not None
    shape = faces.size_wh, faces.channels, faces.points_xy.shape, faces.class_names
    made = blake2b(repr(shape).encode("utf-8", "backslashreplace"), digest_size=_ID_BYTES)
    arrays = (faces.boxes_xyxy, faces.scores, faces.points_xy, faces.point_scores, faces.labels)
    for array in arrays:
        made.update(array.tobytes())
    return made.hexdigest()


def _name(photo: bytes) -> dict[str, str]:
    shown = _shown(photo)
    return {"file_name": shown} | ({"file_name_hex": photo.hex()} if "�" in shown else {})


def _shown(path: bytes) -> str:
    # Half a surrogate, Python's sign for such a byte, is refused by Redis' JSON module.
    return path.decode("utf-8", "replace")


@cache
def _categories(point_count: int, class_names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return name and document of each category that faces of one model have."""
    info = DatasetInfo("", point_count=point_count, class_names=class_names)
    entries = category_entries(Layout(Path(), info))
    return tuple((entry["name"], _json(entry)) for entry in entries)


def _json(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"), allow_nan=False)
