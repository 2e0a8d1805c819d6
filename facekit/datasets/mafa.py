"""Read MAFA: masked faces, labeled in MATLAB structs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.datasets.label_files import load_matlab, rows_of, text_of
from facekit.datasets.source import MASK, NO_MASK, Report, SourcePhoto, face_of
from facekit.errors import DataError

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
    ``train-images/images``, and ``Test`` and ``test`` likewise.

    Raises:
        DataError: The label file or the folder of photos is missing or unusable.
        ModuleNotFoundError: SciPy is not installed.
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
        faces = []
        for row in rows:
            class_name = _test_class(row) if evaluation else _train_class(row)
            x, y, width, height = (float(value) for value in row[:4])
            faces.append(face_of((x, y, x + width, y + height), class_name, path, number, report))
        usable = tuple(face for face in faces if face is not None)
        photos.append(
            SourcePhoto(Path(name).stem, images / name, path, usable, wide_only=wide_only)
        )
    return sorted(photos, key=lambda photo: photo.name)


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
