"""The two Kaggle sets with masks, both in PASCAL VOC files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from facekit.datasets.source import (
    INCORRECT_MASK,
    MASK,
    NO_MASK,
    Box,
    Report,
    SourceFace,
    SourcePhoto,
)
from facekit.datasets.splits import is_evaluation
from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE
from facekit.labels.voc import read_voc

_SUFFIXES = (".jpg", ".jpeg", ".png")
_MEDICAL_CLASSES = {"mask": MASK, "none": NO_MASK}
_MASK_DETECTION_CLASSES = {
    "with_mask": MASK,
    "without_mask": NO_MASK,
    "mask_weared_incorrect": INCORRECT_MASK,
}


def read_medical_masks(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read Kaggle's Medical Masks (ivandanilovich): folders ``images`` and ``labels``.

    Class ``mask`` is a mask, ``none`` is not; objects of other classes are left out.

    Args:
        folder: The set's folder.
        report: Takes what is wrong with a photo or face.

    Raises:
        DataError: A folder is missing or empty.
    """
    return _read(folder / "images", folder / "labels", _MEDICAL_CLASSES, report)


def read_mask_detection(folder: Path, report: Report, *, evaluation: bool) -> list[SourcePhoto]:
    """Read Kaggle's Face Mask Detection (andrewmvd): folders ``images`` and ``annotations``.

    Args:
        folder: The set's folder.
        report: Takes what is wrong with a photo or face.
        evaluation: Return the photos for evaluation, by ``facekit.datasets.splits``; otherwise
            all others.

    Raises:
        DataError: A folder is missing or empty.
    """
    return _read(
        folder / "images",
        folder / "annotations",
        _MASK_DETECTION_CLASSES,
        report,
        lambda stem: is_evaluation(stem) == evaluation,
    )


def _read(
    image_folder: Path,
    label_folder: Path,
    classes: Mapping[str, str],
    report: Report,
    accepts: Callable[[str], bool] = lambda stem: True,
) -> list[SourcePhoto]:
    photos: list[SourcePhoto] = []
    files = [file for file in _files(image_folder, _SUFFIXES) if accepts(file.stem)]
    stems = {file.stem for file in files}
    for labels in _files(label_folder, (".xml",)):
        if accepts(labels.stem) and labels.stem not in stems:
            report(DataError(labels, f"no photo {labels.stem}.* in {image_folder}"))
    for file in files:
        labels = label_folder / f"{file.stem}.xml"
        try:
            annotation = read_voc(labels, None, report)
        except DataError as error:
            report(error)
            continue
        faces = tuple(
            SourceFace(_box(box), classes.get(name, DONT_CARE), line)
            for box, name, line in zip(
                annotation.boxes.tolist(), annotation.labels, annotation.lines, strict=True
            )
        )
        photos.append(SourcePhoto(file.stem, file, labels, faces, annotation.size))
    return photos


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    found = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    )
    if not found:
        raise DataError(folder, f"holds no {', '.join(suffixes)}")
    return found


def _box(values: list[float]) -> Box:
    x1, y1, x2, y2 = values
    return (x1, y1, x2, y2)
