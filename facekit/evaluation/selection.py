"""Select the labeled photos to evaluate on: those of a split, or of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import DataError, reading
from facekit.labels.listing import split_of
from facekit.labels.photo_labels import PhotoLabels
from facekit.photos.formats import PHOTO_SUFFIXES

_LABEL_SUFFIXES = (".xml", ".txt", ".pts")
"""Label files that are of one photo each."""


@dataclass(frozen=True)
class Selection:
    """Labels that can be used, and what is wrong with the others.

    Attributes:
        labels: One entry a photo, each with its photo's file.
        errors: What can't be used.
        unlabeled: Photos that have no labels.
    """

    labels: list[PhotoLabels]
    errors: list[DataError]
    unlabeled: list[Path]


def select(
    found: Sequence[PhotoLabels | DataError],
    unlabeled: Sequence[Path] = (),
    *,
    split: str | None = None,
    list_file: Path | None = None,
) -> Selection:
    """Choose among the labels of ``facekit.labels.folder.find_labels``.

    Args:
        found: Labels, and what is wrong with some.
        unlabeled: The photos without labels.
        split: ``evaluation``, ``calibration`` or ``training`` of ``facekit.labels.listing``.
        list_file: A text file with a photo's name a line, with or without its suffix and folder;
            empty lines and those that start with ``#`` are skipped.

    Raises:
        DataError: The list can't be read or does not name a photo.
    """
    listed = None if list_file is None else _read_list(list_file)

    def wanted(stem: str) -> bool:
        return (split is None or split_of(stem) == split) and (listed is None or stem in listed)

    labels = [entry for entry in found if isinstance(entry, PhotoLabels)]
    errors = [entry for entry in found if isinstance(entry, DataError)]
    chosen = [entry for entry in labels if entry.photo is None or wanted(entry.photo.stem)]
    failed = [
        error
        for error in errors
        if error.path.suffix.lower() not in _LABEL_SUFFIXES  # a file of many photos
        or any(wanted(stem) for stem in _stems(error.path))
    ]
    if list_file is not None and listed is not None:
        known = {entry.photo.stem for entry in labels if entry.photo is not None}
        known.update(stem for error in errors for stem in _stems(error.path))
        failed += [
            DataError(list_file, f"no labels of a photo {stem}", line)
            for stem, line in listed.items()
            if stem not in known
        ]
    return Selection(chosen, failed, [photo for photo in unlabeled if wanted(photo.stem)])


def _stems(path: Path) -> tuple[str, ...]:
    """Return the stems of the photos that a label file may be of: ``a_1.pts`` is face 1 of a."""
    shorter = path.stem.rpartition("_")[0]
    return (path.stem, shorter) if path.suffix.lower() == ".pts" and shorter else (path.stem,)


def _read_list(path: Path) -> dict[str, int]:
    """Return the stems that a list names, and the line of each."""
    with reading(path):
        lines = path.read_text("utf-8").splitlines()
    stems: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = Path(line.strip()).name
        if name and not name.startswith("#"):
            # A stem may hold a dot of its own.
            suffix = Path(name).suffix
            known = suffix.lower() in (*PHOTO_SUFFIXES, *_LABEL_SUFFIXES)
            stems.setdefault(name.removesuffix(suffix) if known else name, number)
    if not stems:
        raise DataError(path, "does not name a photo")
    return stems
