"""Read the two Kaggle sets with masks, both in PASCAL VOC files."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from facekit.datasets.source import INCORRECT_MASK, MASK, NO_MASK, SourceFace, SourcePhoto, to_box
from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE
from facekit.labels.listed import Report
from facekit.labels.listing import list_files, split_of
from facekit.labels.voc import read_voc
from facekit.photos.formats import PHOTO_SUFFIXES

_MEDICAL_CLASSES = {"mask": MASK, "none": NO_MASK}
_MASK_DETECTION_CLASSES = {
    "with_mask": MASK,
    "without_mask": NO_MASK,
    "mask_weared_incorrect": INCORRECT_MASK,
}


def read_medical_masks(folder: Path, report: Report) -> list[SourcePhoto]:
    """Read Kaggle's Medical Masks (ivandanilovich): folders ``images`` and ``labels``.

    Class ``mask`` is a mask, ``none`` is not; objects of other classes are left out. Where the name
    looks like a misspelling of one of the two, it is reported and its photo left out. A photo whose
    file lists no object at all is background. Raises DataError if a folder is missing or empty.
    """
    return _read(folder / "images", folder / "labels", _MEDICAL_CLASSES, report)


def read_mask_detection(folder: Path, report: Report, *, evaluation: bool) -> list[SourcePhoto]:
    """Read Kaggle's Face Mask Detection (andrewmvd): folders ``images`` and ``annotations``.

    It has three classes; an object of any other is reported, and its photo left out. The photos are
    those for evaluation, as ``split_of`` tells, or all others. Raises DataError if a folder is
    missing or empty.
    """
    return _read(
        folder / "images",
        folder / "annotations",
        _MASK_DETECTION_CLASSES,
        report,
        lambda stem: (split_of(stem) == "evaluation") == evaluation,
        complete=True,
    )


def _read(
    image_folder: Path,
    label_folder: Path,
    classes: Mapping[str, str],
    report: Report,
    accepts: Callable[[str], bool] = lambda stem: True,
    *,
    complete: bool = False,
) -> list[SourcePhoto]:
    photos: list[SourcePhoto] = []
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in _files(image_folder, PHOTO_SUFFIXES):
        if accepts(file.stem):
            by_stem[file.stem].append(file)
    for labels in _files(label_folder, (".xml",)):
        if accepts(labels.stem) and labels.stem not in by_stem:
            report(DataError(labels, f"no photo {labels.stem}.* in {image_folder}"))
    for stem, files in by_stem.items():
        labels = label_folder / f"{stem}.xml"
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            report(DataError(labels, f"may be of {names}: remove or rename all but one"))
            continue
        problems: list[DataError] = []
        try:
            annotation = read_voc(labels, None, problems.append)
        except DataError as error:
            report(error)
            continue
        unknown = [
            DataError(labels, reason, line)
            for name, line in zip(annotation.class_names, annotation.lines, strict=True)
            if (reason := _unknown(name, classes, complete)) is not None
        ]
        for problem in (*problems, *unknown):
            report(problem)
        if unknown:  # with the whole photo, as the face would be trained as background
            continue
        faces = tuple(
            SourceFace(to_box(box), classes.get(name, DONT_CARE), line)
            for box, name, line in zip(
                annotation.boxes_xyxy.tolist(),
                annotation.class_names,
                annotation.lines,
                strict=True,
            )
        )
        # A photo in which nobody found a face is background, which is worth training on.
        empty = not faces and not problems
        photos.append(SourcePhoto(stem, files[0], labels, faces, annotation.size_wh, empty=empty))
    return photos


def _unknown(name: str, classes: Mapping[str, str], complete: bool) -> str | None:
    """Return what is wrong with a class name; None where it is known, or one of further classes."""
    if name in classes:
        return None
    close = difflib.get_close_matches(name.lower(), classes, 1)
    if close:
        return f"unknown class {name}; did you mean {close[0]}?"
    return f"unknown class {name}; known are {', '.join(classes)}" if complete else None


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = list_files(folder, suffixes)
    if not found:
        raise DataError(folder, f"contains no {', '.join(suffixes)}")
    return found
