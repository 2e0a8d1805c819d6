"""Read FDDB (ellipses in text lists), MAFA (MATLAB structs) and WIDER FACE (lists or cells)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.datasets.source import MASK, NO_MASK, Box, SourcePhoto, faces_of
from facekit.errors import DataError
from facekit.labels.listed import Report, load_matlab, read_listing, rows_of, text_of
from facekit.labels.listing import list_files
from facekit.labels.wider import OCCLUSION, read_list, split_file

_LIST = "-ellipseList.txt"


def read_fddb(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read all ten folds of FDDB; every face is one without a mask.

    The folder has ``FDDB-folds`` and the photos' folders ``2002`` and ``2003``, which may lie in
    ``originalPics``. What is wrong with a photo or face goes to ``report``. Raises DataError if
    the folder, its lists, or a folder of photos that they name is missing.
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
            rows = ((ellipse_box(*n[:5]), NO_MASK, line) for line, n in listed.rows)
            faces = faces_of(rows, path, report)
            photos.append(SourcePhoto(listed.name, images / f"{listed.name}.jpg", path, faces))
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


# Columns as MAFA's own readme-train.txt and readme-test.txt number them, from 0.
_TRAIN_TYPE, _TRAIN_DEGREE = 12, 13
_TEST_FACE, _TEST_TYPE, _TEST_DEGREE = 4, 9, 10
_BODY_PART = 3
"""Type of an occluder that is not a mask but a hand or hair."""
_DEGREE = 2
"""A masked face is occluded by more than this degree, a bare one by less."""
_MASKED_FACE, _BARE_FACE = 1, 2


def read_mafa(
    folder: Path, report: Report, *, evaluation: bool, wide_only: bool = True
) -> list[SourcePhoto]:
    """Read the training or test part of MAFA by the tutorial's rules.

    Training: a face is masked if its occluder is not of type 3 and the degree is above 2; bare if
    the type is 3 and the degree below 2. Evaluation: masked if the face's own type is 1 and the
    same holds; bare if the face's type is 2. Other faces are left out, and with ``wide_only``
    photos that are higher than wide. The folder has ``MAFA-Label-Train/LabelTrainAll.mat`` and
    ``train-images/images``, and ``Test`` and ``test`` likewise. Raises DataError if one is missing
    or unusable, and ModuleNotFoundError without SciPy.
    """
    part = "Test" if evaluation else "Train"
    path = folder / f"MAFA-Label-{part}" / f"Label{part}All.mat"
    images = folder / f"{part.lower()}-images" / "images"
    if not images.is_dir():
        raise DataError(images, "no such folder")
    variable = "LabelTest" if evaluation else "label_train"
    (entries,) = load_matlab(path, (variable,))
    name_field, rows_field, columns = (0, 1, 11) if evaluation else (1, 2, 14)
    photos = []
    for number, entry in enumerate(entries, start=1):
        try:
            name = text_of(entry[name_field])
            rows = rows_of(entry[rows_field], columns)
        except (ValueError, IndexError, TypeError) as error:
            report(DataError(path, f"an entry that can't be read: {error}", number))
            continue
        if Path(name).name != name:
            report(DataError(path, f"a photo outside the set: {name}", number))
            continue
        class_of = _test_class if evaluation else _train_class
        faces = faces_of(((_corners(row), class_of(row), number) for row in rows), path, report)
        photos.append(SourcePhoto(Path(name).stem, images / name, path, faces, wide_only=wide_only))
    return sorted(photos, key=lambda photo: photo.name)


def _corners(row: Sequence[float] | NDArray[np.float64]) -> Box:
    """Return the box of a row that begins with x, y, width and height."""
    x, y, width, height = (float(value) for value in row[:4])
    return (x, y, x + width, y + height)


def _train_class(row: NDArray[np.float64]) -> str | None:
    kind, degree = row[_TRAIN_TYPE], row[_TRAIN_DEGREE]
    if kind != _BODY_PART and degree > _DEGREE:
        return MASK
    return NO_MASK if kind == _BODY_PART and degree < _DEGREE else None


def _test_class(row: NDArray[np.float64]) -> str | None:
    face, kind, degree = row[_TEST_FACE], row[_TEST_TYPE], row[_TEST_DEGREE]
    if face == _MASKED_FACE and kind != _BODY_PART and degree > _DEGREE:
        return MASK
    return NO_MASK if face == _BARE_FACE else None


PICKED_EVENTS = (
    "2--Demonstration", "4--Dancing", "5--Car_Accident", "9--Press_Conference",
    "15--Stock_Market", "16--Award_Ceremony", "17--Ceremony", "20--Family_Group", "22--Picnic",
    "23--Shoppers", "25--Soldier_Patrol", "27--Spa", "29--Students_Schoolkids",
    "31--Waiter_Waitress", "32--Worker_Laborer", "33--Running", "37--Soccer", "38--Tennis",
    "43--Row_Boat", "46--Jockey", "47--Matador_Bullfighter", "49--Greeting", "51--Dresses",
    "57--Angler",
)  # fmt: skip
"""The events that the tutorial takes."""
MOST_FACES = 3
"""Photos with more unoccluded faces are left out by the tutorial."""


def read_wider(
    folder: Path,
    report: Report,
    *,
    evaluation: bool,
    events: Collection[str] | None = PICKED_EVENTS,
    most_faces: int = MOST_FACES,
) -> list[SourcePhoto]:
    """Read part ``val`` or ``train`` of WIDER FACE by the tutorial's rules.

    A face without occlusion is one without a mask; others are left out, and so are photos of other
    ``events`` (None for all) or with more than ``most_faces`` unoccluded faces. The labels are read
    from ``wider_face_split/wider_face_<part>_bbx_gt.txt``, or where that is missing from
    ``wider_face_<part>.mat``, which has the same and needs SciPy (ModuleNotFoundError); the photos
    from ``WIDER_<part>/images``. Raises DataError if they are missing or unusable.
    """
    part = "val" if evaluation else "train"
    images = folder / f"WIDER_{part}" / "images"
    if not images.is_dir():
        raise DataError(images, "no such folder")
    path = split_file(folder, part)
    listed = read_list(path, report)
    photos = []
    for entry in sorted(listed, key=lambda entry: entry.name):
        if events is not None and entry.name.split("/")[0] not in events:
            continue
        clear = sum(numbers[OCCLUSION] == 0 for _, numbers in entry.rows)
        if not 1 <= clear <= most_faces:
            continue
        rows = (
            (_corners(numbers), NO_MASK if numbers[OCCLUSION] == 0 else None, line)
            for line, numbers in entry.rows
        )
        faces = faces_of(rows, path, report)
        photos.append(SourcePhoto(Path(entry.name).stem, images / entry.name, path, faces))
    return photos
