"""The documents of a store in Redis: JSON, one for each image, annotation and category.

They are the entries of a COCO file with the seed fields (``facekit.annotations.coco``), except that

- ``id`` and ``image_id`` are texts made from the photo's path. A COCO file numbers its photos, and
  those numbers shift when a photo is added; these never do, so that a document changes only when
  its own photo does. ``file_name`` joins the two.
- an image also has ``folder``, where it lies under the photo folder, and ``faces``, their number.
- an annotation also has ``file_name``, ``folder``, ``category`` (the name that its
  ``category_id`` has) and ``number``, its place in the photo from 1. ``rotation`` and ``center``
  are left out where they are unknown.
- a file name that is not UTF-8 has replacement characters, and its bytes in ``file_name_hex``.

A category exists as long as there are faces of it, and is identified by its name.
"""

import json
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from facekit.annotations.coco import annotation_entries, category_entries, image_entry
from facekit.annotations.dataset import DatasetInfo, Layout
from facekit.annotations.record import PhotoRecord
from facekit.store.store import to_bytes

_ID_BYTES = 10


def image_id(photo: bytes) -> str:
    """Return the id of the image of a path: 20 hexadecimal digits."""
    return blake2b(photo, digest_size=_ID_BYTES).hexdigest()


def folder_of(photo: bytes) -> bytes:
    """Return where a photo lies under the photo folder; b"" for that folder itself."""
    return photo.rpartition(b"/")[0]


def digest(record: PhotoRecord) -> str:
    """Return a digest of a record's faces, of which all its documents are made."""
    faces = record.faces
    assert faces is not None
    shape = faces.size_wh, faces.channels, faces.points_xy.shape, faces.class_names
    made = blake2b(repr(shape).encode("utf-8", "backslashreplace"), digest_size=_ID_BYTES)
    arrays = (faces.boxes_xyxy, faces.scores, faces.points_xy, faces.point_scores, faces.labels)
    for array in arrays:
        made.update(array.tobytes())
    if np.isfinite(faces.sharpness).any():  # records of earlier versions keep their digests
        made.update(faces.sharpness.tobytes())
    return made.hexdigest()


def image_document(record: PhotoRecord) -> dict[str, Any]:
    """Return the document of a photo's image."""
    assert record.faces is not None
    photo = to_bytes(record.photo)
    entry = image_entry(0, "", record.faces, True) | {"id": image_id(photo)} | _name(photo)
    return entry | {"folder": _shown(folder_of(photo)), "faces": len(record.faces)}


def face_documents(record: PhotoRecord) -> list[dict[str, Any]]:
    """Return the documents of a photo's annotations, in its order."""
    assert record.faces is not None
    photo = to_bytes(record.photo)
    image, name = image_id(photo), _name(photo)
    folder, categories = _shown(folder_of(photo)), category_documents(record)
    documents = []
    for number, entry in enumerate(annotation_entries(record.faces, 1, 0, True), 1):
        entry |= {"id": f"{image}:{number}", "image_id": image, "number": number} | name
        entry |= {"folder": folder, "category": categories[entry["category_id"] - 1]["name"]}
        documents.append({key: value for key, value in entry.items() if value is not None})
    return documents


def category_documents(record: PhotoRecord) -> list[dict[str, Any]]:
    """Return the documents of all categories that the record's model has, in its order."""
    assert record.faces is not None
    return _categories(record.faces.points_xy.shape[1], record.faces.class_names)


def to_json(document: dict[str, Any]) -> str:
    """Return a document as compact JSON."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _name(photo: bytes) -> dict[str, str]:
    shown = _shown(photo)
    return {"file_name": shown} | ({"file_name_hex": photo.hex()} if "\ufffd" in shown else {})


def _shown(path: bytes) -> str:
    # Half a surrogate, Python's stand-in for such a byte, is refused by Redis' JSON module.
    return path.decode("utf-8", "replace")


@cache
def _categories(point_count: int, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    info = DatasetInfo("", point_count=point_count, class_names=class_names)
    return category_entries(Layout(Path(), info))
