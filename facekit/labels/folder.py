"""Find the labels of a folder or a file in any format, and select some of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, reading
from facekit.labels.coco import read_coco
from facekit.labels.kitti import read_kitti
from facekit.labels.listing import list_files, split_of
from facekit.labels.photo_labels import PhotoLabels, stored_view, upright_labels
from facekit.labels.pts import face_box, photo_stem, present, read_pts
from facekit.labels.voc import read_voc
from facekit.labels.wider import find_file, is_label_file, read_labels
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.photos.formats import PHOTO_SUFFIXES

POINTS_CLASS = "face"
"""Class name of a face that is labeled by its points alone."""

_SUFFIXES = (".xml", ".pts", ".json", ".txt")
_LABEL_FOLDERS = ("labels", "annotations")
_PHOTO_FOLDERS = ("images", "photos", "JPEGImages")


def find_labels(
    path: Path,
    photo_folder: Path | None = None,
    unlabeled: Callable[[Path], None] | None = None,
) -> list[PhotoLabels | DataError]:
    """Read all labels under a path, and find their photos.

    The format follows from the files: ``.xml`` is VOC, ``.txt`` KITTI, ``.json`` COCO, ``.pts``
    300-W, where ``<photo>_<k>.pts`` is face k of a photo. A folder with labels in a folder
    ``labels`` or ``annotations`` stands for that one. A photo has its label file's stem (in COCO
    the name that the file says), and lies beside the labels or in a folder ``images`` there or
    next to theirs. Where several photos have that stem, it is the one that a VOC file names. WIDER
    FACE's files and folders are known by their names, see :mod:`facekit.labels.wider`.

    Args:
        path: A folder, or one label file.
        photo_folder: Folder of the photos, where they lie elsewhere.
        unlabeled: Takes each photo of those folders that has no labels. One label file that is
            not COCO's is of one photo, and leaves no other unlabeled.

    Returns:
        One entry a photo, by label file name (COCO: in the file's order): its labels, with
        ``photo`` set to a file that is there, or what is wrong with it.

    Raises:
        DataError: There is no such path, it contains no labels or several formats, or a COCO file
            can't be read.
    """
    wider = find_file(path)
    if wider is not None:
        return read_labels(wider, photo_folder, unlabeled)
    suffix, files = _label_files(path)
    folder = files[0].parent
    photos = _Photos([photo_folder] if photo_folder is not None else _photo_folders(folder))
    if suffix == ".json":
        found = _coco(files, folder, photos)
    elif suffix == ".pts":
        found = list(_points(files, photos))
    else:
        read = _voc if suffix == ".xml" else _kitti
        found = [_attempt(read, file, photos) for file in files]
    if unlabeled is not None and (suffix == ".json" or not path.is_file()):
        for photo in photos.without_labels():
            unlabeled(photo)
    return found


def turned_upright(labels: PhotoLabels) -> PhotoLabels:
    """Return labels from :func:`find_labels` in pixels of the upright photo, as a server sees it.

    The forehead, which :func:`facekit.labels.pts.face_box` adds above the points, is above them in
    the upright photo: boxes of points are taken anew. Raises DataError as :func:`stored_view` does.
    """
    if labels.photo is None:
        return labels
    turned = upright_labels(labels, *stored_view(labels.photo))
    if turned is labels or labels.source.suffix.lower() != ".pts":
        return turned
    boxes = [face_box(points) for points in turned.points_xy if points is not None]
    return replace(turned, boxes_xyxy=np.stack(boxes))


def _label_files(path: Path) -> tuple[str, list[Path]]:
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(path, f"is not a label file: expected {', '.join(_SUFFIXES)}")
        return path.suffix.lower(), [path]
    if not path.is_dir():
        raise DataError(path, "no such file or folder")
    for folder in (*(path / name for name in _LABEL_FOLDERS), path):
        if not folder.is_dir():
            continue
        by_suffix: dict[str, list[Path]] = defaultdict(list)
        for file in list_files(folder, _SUFFIXES):
            by_suffix[file.suffix.lower()].append(file)
        if len(by_suffix) > 1:
            by_suffix.pop(".txt", None)  # a list of classes or a readme beside the labels
        if len(by_suffix) > 1:
            names = ", ".join(files[0].name for files in by_suffix.values())
            raise DataError(folder, f"contains labels of several formats: {names}")
        for suffix, files in by_suffix.items():
            return suffix, files
    raise DataError(path, f"contains no labels ({', '.join(_SUFFIXES)})")


def _photo_folders(folder: Path) -> list[Path]:
    found = [folder]
    for parent in (folder, folder.parent):
        found += [parent / name for name in _PHOTO_FOLDERS if (parent / name).is_dir()]
    return found


class _Photos:
    """The photos of some folders by stem; each folder is listed once."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = list(folders)
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        self.labeled: set[str] = set()  # stems that a label file is of, even one that is broken
        for folder in self.folders:
            for file in list_files(folder, PHOTO_SUFFIXES):
                self.by_stem[file.stem].append(file)

    def without_labels(self) -> Iterator[Path]:
        for stem, files in self.by_stem.items():
            if stem not in self.labeled:
                yield from files

    def of(self, label_file: Path, stem: str, name: str = "") -> Path:
        """Return the photo of a stem, by its name where several have that stem.

        Raises DataError if there is none, or several might be meant.
        """
        files = self.by_stem.get(stem, [])
        if not files:
            raise self.missing(label_file, f"{stem}.*")
        named = [file for file in files if file.name == name] if len(files) > 1 else files
        if len(named) != 1:
            places = ", ".join(map(str, files))
            raise DataError(label_file, f"may be of any of {len(files)} photos: {places}")
        return named[0]

    def missing(self, label_file: Path, name: str | Path) -> DataError:
        return DataError(label_file, f"no photo {name} in {', '.join(map(str, self.folders))}")


def _attempt(
    read: Callable[[Path, _Photos], PhotoLabels], file: Path, photos: _Photos
) -> PhotoLabels | DataError:
    photos.labeled.add(file.stem)
    try:
        return read(file, photos)
    except DataError as error:
        return error


def _coco(files: list[Path], folder: Path, photos: _Photos) -> list[PhotoLabels | DataError]:
    found: list[PhotoLabels | DataError] = []
    for file in files:
        content = read_coco(file)
        photos.labeled.update(Path(name).stem for name in content.photo_names)
        found += [_located(entry, folder, photos) for entry in content.labels]
    return found


def _located(
    found: PhotoLabels | DataError, folder: Path, photos: _Photos
) -> PhotoLabels | DataError:
    """Put the photo's path into labels of a COCO file, whose names may count from any folder."""
    if isinstance(found, DataError) or found.photo is None:
        return found
    inside = found.photo.is_relative_to(folder)
    name = found.photo.relative_to(folder) if inside else found.photo
    for place in photos.folders:
        if (place / name).is_file():
            return replace(found, photo=place / name)
    return photos.missing(found.source, name)


def _kitti(file: Path, photos: _Photos) -> PhotoLabels:
    return replace(read_kitti(file), photo=photos.of(file, file.stem))


def _voc(file: Path, photos: _Photos) -> PhotoLabels:
    found = read_voc(file, None)
    return replace(found, photo=photos.of(file, file.stem, found.photo_name))


def _points(files: list[Path], photos: _Photos) -> Iterator[PhotoLabels | DataError]:
    """Yield the faces of each photo; a photo with a face that can't be read is an error."""
    faces: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        faces[photo_stem(file, photos.by_stem)].append(file)
    for stem, members in sorted(faces.items()):
        photos.labeled.add(stem)
        try:
            photo = photos.of(members[0], stem if stem in photos.by_stem else members[0].stem)
            points = [
                _present_scheme(read_pts(file, POINT_COUNTS[-1], partial=True)) for file in members
            ]
            boxes = [_box(file, face) for file, face in zip(members, points, strict=True)]
        except DataError as error:
            yield error
            continue
        yield PhotoLabels(
            photo=photo,
            size_wh=None,
            boxes_xyxy=np.stack(boxes),
            class_names=(POINTS_CLASS,) * len(points),
            ignored=np.zeros(len(points), dtype=bool),
            points_xy=tuple(points),
            source=members[0],
        )


def _box(file: Path, points: NDArray[np.float32]) -> NDArray[np.float32]:
    box = face_box(points)
    if not (box[2:] > box[:2]).all():  # also where a corner is NaN
        raise DataError(file, "the annotated points span no face box")
    return box


def _present_scheme(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut points to the smallest scheme that has all that are annotated."""
    last = int(np.flatnonzero(present(points))[-1])
    return points[: next(count for count in POINT_COUNTS if count > last)]


_LABEL_SUFFIXES = (".xml", ".txt", ".pts")
"""Label files that are of one photo each."""


@dataclass(frozen=True)
class Selection:
    """Labels with their photos' files, what is wrong with others, and photos without labels."""

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
    """Choose among the labels of :func:`find_labels` and the photos without labels.

    ``split`` is ``evaluation``, ``calibration`` or ``training``, as ``split_of`` tells.
    ``list_file`` has a photo's name a line, with or without its suffix and folder; empty lines and
    those that start with ``#`` are skipped. Raises DataError if it can't be read, or has none.
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
        if error.path.suffix.lower() not in _LABEL_SUFFIXES
        or is_label_file(error.path)  # of many
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
