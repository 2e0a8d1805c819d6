"""What a store answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


class Answer:
    """One row of what a store answers."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class StoredDataset(Answer):
    """A dataset.

    Attributes:
        dataset: Its name.
        photo_folder: Folder that its photos' names count from.
        photos: How many photos it holds, those without a face too.
        faces: How many faces.
    """

    dataset: str
    photo_folder: str
    photos: int
    faces: int


@dataclass(frozen=True)
class StoredPhoto(Answer):
    """A photo.

    Attributes:
        photo: Path under the photo folder.
        width: Of the upright photo in pixels.
        height: Likewise.
        channels: As in ``facekit.Faces``.
        faces: How many faces it shows.
    """

    photo: str
    width: int
    height: int
    channels: int
    faces: int


@dataclass(frozen=True)
class StoredFace(Answer):
    """A face, in pixels of the upright photo, x right, y down.

    Attributes:
        photo: Path of its photo under the photo folder.
        number: Its place in the photo, from 1, best first.
        category: Name of its class, or ``face``.
        score: In [0, 1].
        rotation_deg: Angle of the eye line, 0 upright, positive clockwise as seen; None if unknown.
        center_xy: The point between the eyes; None if unknown.
        box_xywh: Left, top, width and height.
        points_xy: The landmarks in the order of ``facekit.landmarks.scheme``; () for none.
    """

    photo: str
    number: int
    category: str
    score: float
    rotation_deg: float | None
    center_xy: tuple[float, float] | None
    box_xywh: tuple[float, float, float, float]
    points_xy: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FolderCount(Answer):
    """How much lies directly in one folder; the photo folder itself is ``.``."""

    folder: str
    photos: int
    faces: int


@dataclass(frozen=True)
class CategoryCount(Answer):
    """How many faces are of one category."""

    category: str
    faces: int


def to_bytes(text: str) -> bytes:
    """Return a path's own bytes, of one that is no UTF-8 too."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Undo :func:`to_bytes`."""
    return data.decode("utf-8", "surrogateescape")


def photo_answer(document: str | bytes) -> StoredPhoto:
    """Read the document of an image."""
    data = json.loads(document)
    return StoredPhoto(_photo(data), data["width"], data["height"], data["channels"], data["faces"])


def face_answer(document: str | bytes) -> StoredFace:
    """Read the document of an annotation."""
    data = json.loads(document)
    center = data.get("center")
    keypoints = data.get("keypoints", [])
    return StoredFace(
        photo=_photo(data),
        number=data["number"],
        category=data["category"],
        score=float(data["score"]),
        rotation_deg=data.get("rotation"),
        center_xy=tuple(center) if center else None,
        box_xywh=tuple(data["bbox"]),
        points_xy=tuple(zip(keypoints[::3], keypoints[1::3], strict=True)),
    )


def _photo(data: dict[str, Any]) -> str:
    if "file_name_hex" in data:
        return to_text(bytes.fromhex(data["file_name_hex"]))
    name: str = data["file_name"]
    return name
