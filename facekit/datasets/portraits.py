"""Portraits with landmarks as faces without a mask, and photos without faces."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.datasets.source import NO_MASK, Box, Report, SourceFace, SourcePhoto
from facekit.errors import DataError
from facekit.labels.folder import PHOTO_SUFFIXES, find_labels

LEAST_FACES_HIGH, MOST_FACES_HIGH = 1.5, 2.5
"""Height of a portrait's window in longer sides of its face."""
LEAST_ASPECT, MOST_ASPECT = 2 / 3, 4 / 3
"""How many times as wide as high it is: from upright to landscape photos."""

BESIDE_SHARE = 0.25
"""Further beside a face than this share of its width, a portrait counts as not labelled."""


def read_portraits(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read a folder of 300-W photos, one window a face.

    A photo's other faces often have no points, and would be trained as background. So a window is
    cut out around each annotated face: 1.5 to 2.5 times as high as the face's longer side, 2/3 to
    4/3 times as wide as high, the face somewhere in it, all by the SHA-1 of its name; moved and
    cut to lie in the photo. Other annotated faces whose centre is in the window are labelled too.
    What is further beside the face than a quarter of its width is marked as ``DontCare``: there
    other people stand.

    Args:
        folder: Holds the photos and their ``.pts`` files.
        report: Takes what is wrong with a photo.

    Raises:
        DataError: The folder is missing or holds no ``.pts`` file.
    """
    photos: list[SourcePhoto] = []
    for entry in find_labels(folder):
        if isinstance(entry, DataError):
            report(entry)
            continue
        if any(points is None for points in entry.points_xy) or entry.photo is None:
            raise DataError(folder, "holds labels without points, expected 300-W .pts files")
        faces = tuple(SourceFace(_box(box), NO_MASK) for box in entry.boxes_xyxy)
        for number, box in enumerate(entry.boxes_xyxy, start=1):
            name = f"{entry.photo.stem}_{number}"
            window = portrait_window(name, box)
            photos.append(
                SourcePhoto(
                    name,
                    entry.photo,
                    entry.source,
                    faces,
                    window_xyxy=window,
                    unlabelled_xyxy=_beside(_box(box)),
                )
            )
    return photos


def portrait_window(name: str, face_xyxy: NDArray[np.float32]) -> Box:
    """Return the window around a face, before it is moved and cut to lie in the photo.

    Args:
        name: Decides the window's size, aspect and place.
        face_xyxy: float32 [4] in pixels of the photo.
    """
    digest = hashlib.sha1(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    size, shape, across, down = (
        int.from_bytes(digest[4 * k : 4 * k + 4], "big") / 2**32 for k in range(4)
    )
    x1, y1, x2, y2 = _box(face_xyxy)
    height = max(x2 - x1, y2 - y1) * (
        LEAST_FACES_HIGH + size * (MOST_FACES_HIGH - LEAST_FACES_HIGH)
    )
    width = height * (LEAST_ASPECT + shape * (MOST_ASPECT - LEAST_ASPECT))
    left = x1 - across * (width - (x2 - x1))
    top = y1 - down * (height - (y2 - y1))
    return (left, top, left + width, top + height)


def _beside(face: Box) -> tuple[Box, Box]:
    """Return all that is to the left and to the right of a face."""
    margin = BESIDE_SHARE * (face[2] - face[0])
    left, right = face[0] - margin, face[2] + margin
    return (-math.inf, -math.inf, left, math.inf), (right, -math.inf, math.inf, math.inf)


def read_empty(folder: Path) -> list[SourcePhoto]:
    """Read a folder of photos without faces.

    Raises:
        DataError: The folder is missing or holds no photo.
    """
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DataError(folder, f"holds no photo ({', '.join(PHOTO_SUFFIXES)})")
    return [SourcePhoto(file.stem, file, file, (), empty=True) for file in files]


def _box(values: NDArray[np.float32]) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return (x1, y1, x2, y2)
