"""Read FDDB: faces as ellipses in text lists."""

from __future__ import annotations

import math
from pathlib import Path

from facekit.datasets.label_files import read_listing
from facekit.datasets.source import NO_MASK, Box, Report, SourcePhoto, face_of
from facekit.errors import DataError
from facekit.labels.listing import list_files

_LIST = "-ellipseList.txt"


def read_fddb(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read all ten folds of FDDB; every face is one without a mask.

    The folder has ``FDDB-folds`` and the photos' folders ``2002`` and ``2003``, which may lie in
    ``originalPics``. What is wrong with a photo or face goes to ``report``.

    Raises:
        DataError: The folder, its lists, or a folder of photos that they name is missing.
    """
    folds = folder / "FDDB-folds"
    lists = [file for file in list_files(folds, (".txt",)) if file.name.endswith(_LIST)]
    if not lists:
        raise DataError(folds, f"contains no *{_LIST}")
    archive = folder / "originalPics"  # as the photos are packed
    images = archive if archive.is_dir() else folder
    photos = []
    for path in lists:
        for listed in read_listing(path, 5, report):
            faces = (
                face_of(ellipse_box(*numbers[:5]), NO_MASK, path, line, report)
                for line, numbers in listed.rows
            )
            usable = tuple(face for face in faces if face is not None)
            photos.append(SourcePhoto(listed.name, images / f"{listed.name}.jpg", path, usable))
    # Without a year's folder every photo of it would be reported, hours later.
    for year in sorted({photo.name.split("/")[0] for photo in photos}):
        if not (images / year).is_dir():
            raise DataError(images / year, "no such folder")
    return photos


def ellipse_box(major: float, minor: float, angle: float, center_x: float, center_y: float) -> Box:
    """Return the upright box x1, y1, x2, y2 that touches an ellipse on its four sides.

    The half axes and the center are in pixels, the angle from the x axis to the longer axis in
    radians. An ellipse's point at parameter t has x = major cos(angle) cos t - minor sin(angle)
    sin t from the center, whose largest value is the root of the squares of both factors; y
    likewise. An axis without a positive length gives an empty box.
    """
    if major <= 0 or minor <= 0:
        return (center_x, center_y, center_x, center_y)
    cosine, sine = math.cos(angle), math.sin(angle)
    half_width = math.hypot(major * cosine, minor * sine)
    half_height = math.hypot(major * sine, minor * cosine)
    return (
        center_x - half_width,
        center_y - half_height,
        center_x + half_width,
        center_y + half_height,
    )
