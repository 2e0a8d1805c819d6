"""Read portraits with landmarks as faces without a mask, and photos without faces."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from pathlib import Path

from facekit.datasets.source import NO_MASK, Box, SourceFace, SourcePhoto, faces_of, to_box
from facekit.errors import DataError
from facekit.labels.listed import Report
from facekit.labels.listing import list_files
from facekit.labels.photo_labels import stored_view
from facekit.labels.pts import face_box, photo_stem, read_pts
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.photos.formats import PHOTO_SUFFIXES
from facekit.photos.header import upright_points

LEAST_FACES_HIGH, MOST_FACES_HIGH = 1.5, 2.5
"""Height of a portrait's window in longer sides of its face."""
LEAST_ASPECT, MOST_ASPECT = 2 / 3, 4 / 3
"""How many times as wide as high it is: from upright to landscape photos."""

BESIDE_SHARE = 0.25
"""A portrait counts as unlabeled further beside a face than this share of its width."""


def read_portraits(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read a folder of 300-W photos and their ``.pts`` files, one window a face.

    A photo's other faces often have no points, and would be trained as background. So a window is
    cut out around each annotated face, moved and cut to lie in the photo: 1.5 to 2.5 times as high
    as the face's longer side and 2/3 to 4/3 times as wide as high. Size, aspect and the face's
    place in it follow from the SHA-1 of the ``.pts`` file's stem. Other annotated faces whose
    center is in the window are labeled too. What is further beside the face than a quarter of its
    width is marked as ``DontCare``, except for labeled faces: other people stand there. A face that
    can't be used is reported and gets no window. Raises DataError if the folder is missing or
    contains no ``.pts`` file.
    """
    photos: dict[str, Path] = {}
    for file in list_files(folder, PHOTO_SUFFIXES):
        photos.setdefault(file.stem, file)
    by_photo: dict[str, list[Path]] = defaultdict(list)
    for file in list_files(folder, (".pts",)):
        by_photo[photo_stem(file, photos)].append(file)
    if not by_photo:
        raise DataError(folder, "contains no .pts file")
    found: list[SourcePhoto] = []
    for stem, files in by_photo.items():
        if stem in photos:
            found += _windows(photos[stem], files, report)
            continue
        for file in files:
            report(DataError(file, f"no photo {stem}.* beside it"))
    return sorted(found, key=lambda photo: photo.name)


def _windows(photo: Path, files: list[Path], report: Report) -> list[SourcePhoto]:
    """Return a window for each usable face of a photo."""
    try:
        size_wh, orientation = stored_view(photo)
    except DataError as error:
        report(error)
        return []
    faces: dict[Path, SourceFace] = {}
    for file in files:
        try:
            points = read_pts(file, POINT_COUNTS[-1], partial=True)
        except DataError as error:
            report(error)
            continue
        # Turned first: a face's forehead and its neighbors are where they are when it is upright.
        box = face_box(upright_points(points, size_wh, orientation))
        for face in faces_of([(to_box(box.tolist()), NO_MASK, None)], file, report):
            faces[file] = face
    return [
        SourcePhoto(
            file.stem,
            photo,
            file,
            tuple(faces.values()),
            window_xyxy=portrait_window(file.stem, face.box_xyxy),
            subject=face,
            unlabeled_xyxy=_beside(face.box_xyxy),
            upright=True,
        )
        for file, face in faces.items()
    ]


def portrait_window(name: str, face_xyxy: Box) -> Box:
    """Return the window around a face, before it is moved and cut to lie in the photo.

    Its size, aspect and place follow from the name.
    """
    digest = hashlib.sha1(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    size, shape, across, down = (
        int.from_bytes(digest[4 * k : 4 * k + 4], "big") / 2**32 for k in range(4)
    )
    x1, y1, x2, y2 = face_xyxy
    height = max(x2 - x1, y2 - y1) * (
        LEAST_FACES_HIGH + size * (MOST_FACES_HIGH - LEAST_FACES_HIGH)
    )
    width = height * (LEAST_ASPECT + shape * (MOST_ASPECT - LEAST_ASPECT))
    left = x1 - across * (width - (x2 - x1))
    top = y1 - down * (height - (y2 - y1))
    return (left, top, left + width, top + height)


def _beside(face: Box) -> tuple[Box, Box]:
    """Return the regions to the left and to the right of a face."""
    margin = BESIDE_SHARE * (face[2] - face[0])
    left, right = face[0] - margin, face[2] + margin
    return (-math.inf, -math.inf, left, math.inf), (right, -math.inf, math.inf, math.inf)


def read_empty(folder: Path) -> list[SourcePhoto]:
    """Read a folder of photos without faces; raises DataError if it contains no photo."""
    files = list_files(folder, PHOTO_SUFFIXES)
    if not files:
        raise DataError(folder, f"contains no photo ({', '.join(PHOTO_SUFFIXES)})")
    return [SourcePhoto(file.stem, file, file, (), empty=True) for file in files]
