"""Labels of a folder or a file, of whatever format: KITTI, VOC, COCO or 300-W points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError
from facekit.labels.coco import read_coco
from facekit.labels.kitti import read_kitti
from facekit.labels.photo_labels import PhotoLabels
from facekit.labels.pts import face_box, present, read_pts
from facekit.labels.voc import read_voc
from facekit.landmarks.scheme import POINT_COUNTS

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
POINTS_CLASS = "face"
"""Class name of a face that is labelled by its points alone."""

_SUFFIXES = (".xml", ".pts", ".json", ".txt")
_LABEL_FOLDERS = ("labels", "annotations")
_PHOTO_FOLDERS = ("images", "photos", "JPEGImages")


def find_labels(path: Path, photo_folder: Path | None = None) -> list[PhotoLabels | DataError]:
    """Read all labels under a path, and find their photos.

    The format follows from the files: ``.xml`` is VOC, ``.txt`` KITTI, ``.json`` COCO, ``.pts``
    300-W, where ``<photo>_<k>.pts`` is face k of a photo. A folder with labels in a folder
    ``labels`` or ``annotations`` stands for that one. A photo has its label file's stem (in COCO
    the name that the file says), and lies beside the labels or in a folder ``images`` there or
    next to theirs.

    Args:
        path: A folder, or one label file.
        photo_folder: Folder of the photos, where they lie elsewhere.

    Returns:
        One entry a photo, by label file name (COCO: in the file's order): its labels, with
        ``photo`` set to a file that is there, or what is wrong with it.

    Raises:
        DataError: There is no such path, it holds no labels or several formats, or a COCO file
            can't be read.
    """
    suffix, files = _label_files(path)
    folder = files[0].parent
    folders = [photo_folder] if photo_folder is not None else _photo_folders(folder)
    if suffix == ".json":
        return [_located(found, folder, folders) for file in files for found in read_coco(file)]
    photos = _Photos(folders)
    read = {".xml": _voc, ".txt": _kitti}.get(suffix)
    if read is not None:
        return [_attempt(read, file, photos) for file in files]
    return list(_points(files, photos))


def _label_files(path: Path) -> tuple[str, list[Path]]:
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(path, f"is no label file: expected {', '.join(_SUFFIXES)}")
        return path.suffix.lower(), [path]
    if not path.is_dir():
        raise DataError(path, "no such file or folder")
    for folder in (*(path / name for name in _LABEL_FOLDERS), path):
        if not folder.is_dir():
            continue
        by_suffix: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."):
                by_suffix[file.suffix.lower()].append(file)
        if len(by_suffix) > 1:
            by_suffix.pop(".txt", None)  # a list of classes or a readme beside the labels
        if len(by_suffix) > 1:
            names = ", ".join(files[0].name for files in by_suffix.values())
            raise DataError(folder, f"holds labels of several formats: {names}")
        for suffix, files in by_suffix.items():
            return suffix, files
    raise DataError(path, f"holds no labels ({', '.join(_SUFFIXES)})")


def _photo_folders(folder: Path) -> list[Path]:
    found = [folder]
    for parent in (folder, folder.parent):
        found += [parent / name for name in _PHOTO_FOLDERS if (parent / name).is_dir()]
    return found


class _Photos:
    """The photos of some folders by stem; each folder is listed once."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._by_stem: dict[str, Path] = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise DataError(folder, "no such folder")
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith("."):
                    self._by_stem.setdefault(file.stem, file)

    def get(self, stem: str) -> Path | None:
        return self._by_stem.get(stem)

    def of(self, label_file: Path) -> Path:
        photo = self.get(label_file.stem)
        if photo is None:
            places = ", ".join(str(folder) for folder in self._folders)
            raise DataError(label_file, f"no photo {label_file.stem}.* in {places}")
        return photo


def _attempt(
    read: Callable[[Path, _Photos], PhotoLabels], file: Path, photos: _Photos
) -> PhotoLabels | DataError:
    try:
        return read(file, photos)
    except DataError as error:
        return error


def _located(
    found: PhotoLabels | DataError, folder: Path, folders: list[Path]
) -> PhotoLabels | DataError:
    """Put the photo's place into labels of a COCO file, whose names may count from any folder."""
    if isinstance(found, DataError) or found.photo is None:
        return found
    inside = found.photo.is_relative_to(folder)
    name = found.photo.relative_to(folder) if inside else found.photo
    for place in folders:
        if (place / name).is_file():
            return replace(found, photo=place / name)
    places = ", ".join(str(place) for place in folders)
    return DataError(found.source, f"no photo {name} in {places}")


def _kitti(file: Path, photos: _Photos) -> PhotoLabels:
    return replace(read_kitti(file), photo=photos.of(file))


def _voc(file: Path, photos: _Photos) -> PhotoLabels:
    found = read_voc(file, None)
    return PhotoLabels(
        photo=photos.of(file),
        size_wh=found.size,
        boxes_xyxy=found.boxes,
        class_names=found.labels,
        ignored=found.difficult,
        points_xy=(None,) * len(found.labels),
        source=file,
    )


def _points(files: list[Path], photos: _Photos) -> Iterator[PhotoLabels | DataError]:
    """Yield the faces of each photo; a photo with a face that can't be read is an error."""
    faces: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        # A photo's own name may end in a number: its stem goes first.
        whole = photos.get(file.stem) is not None
        faces[file.stem if whole else file.stem.rpartition("_")[0] or file.stem].append(file)
    for stem, members in sorted(faces.items()):
        photo = photos.get(stem)
        try:
            if photo is None:
                photos.of(members[0])
            points = [
                _present_scheme(read_pts(file, POINT_COUNTS[-1], partial=True)) for file in members
            ]
        except DataError as error:
            yield error
            continue
        yield PhotoLabels(
            photo=photo,
            size_wh=None,
            boxes_xyxy=np.stack([face_box(face) for face in points]),
            class_names=(POINTS_CLASS,) * len(points),
            ignored=np.zeros(len(points), dtype=bool),
            points_xy=tuple(points),
            source=members[0],
        )


def _present_scheme(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut points to the smallest scheme that holds all that are annotated."""
    last = int(np.flatnonzero(present(points))[-1])
    return points[: next(count for count in POINT_COUNTS if count > last)]
