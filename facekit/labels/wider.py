"""Read the labels of WIDER FACE, and the easy, medium and hard subsets of its protocol.

As it is published, ``wider_face_split`` holds ``wider_face_<part>_bbx_gt.txt`` and, with the same
content, ``wider_face_<part>.mat``; photos lie in ``WIDER_<part>/images/<event>``. The subsets are
``wider_easy_val.mat``, ``wider_medium_val.mat`` and ``wider_hard_val.mat`` in the folder
``ground_truth`` of the evaluation tools, ``eval_tools``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError
from facekit.labels.listed import ListedPhoto, Report, load_matlab, read_listing, rows_of, text_of
from facekit.labels.listing import list_files
from facekit.labels.photo_labels import PhotoLabels
from facekit.photos.formats import PHOTO_SUFFIXES

SUBSETS = ("easy", "medium", "hard")
INVALID, OCCLUSION = 7, 8
"""Columns of the text lists, after x y w h blur expression illumination."""

_CLASS = "face"
_COLUMNS = 10
_BOXES = ("event_list", "file_list", "face_bbx_list")
_LABELS = ("invalid_label_list", "occlusion_label_list")
_FILE = re.compile(r"wider_face_(train|val)(_bbx_gt\.txt|\.mat)")
_SPLIT_FOLDER = "wider_face_split"


def find_file(path: Path) -> Path | None:
    """Return WIDER's label file that a path stands for, or None where it is of another set.

    That is the file itself, or the one of ``WIDER_val`` or ``WIDER_train`` in the folder
    ``wider_face_split`` next to it; the whole set's folder and ``wider_face_split`` stand for part
    ``val``. Raises DataError if there is such a folder, but no label file in it.
    """
    if path.is_file():
        return path if is_label_file(path) else None
    part = path.name.removeprefix("WIDER_") if path.name in ("WIDER_val", "WIDER_train") else ""
    root = path.parent if part or path.name == _SPLIT_FOLDER else path
    return split_file(root, part or "val") if (root / _SPLIT_FOLDER).is_dir() else None


def is_label_file(path: Path) -> bool:
    """Tell whether a file has the name of one of WIDER's label files."""
    return _FILE.fullmatch(path.name) is not None


def split_file(root: Path, part: str) -> Path:
    """Return the label file of part ``val`` or ``train``: the text list, else the ``.mat`` file.

    Raises DataError if there is neither.
    """
    text = root / _SPLIT_FOLDER / f"wider_face_{part}_bbx_gt.txt"
    if text.is_file():
        return text
    matlab = text.with_name(f"wider_face_{part}.mat")
    if not matlab.is_file():
        raise DataError(matlab, f"no such file, nor {text.name}")
    return matlab


def read_list(path: Path, report: Report) -> list[ListedPhoto]:
    """Read a label file as rows of the text list's ten columns.

    A row's line, in a ``.mat`` file, is the photo's number in the file; columns other than the box,
    ``INVALID`` and ``OCCLUSION`` are then 0. A photo that can't be read goes to ``report``. Raises
    DataError if the file can't be read, and ModuleNotFoundError if a ``.mat`` file needs SciPy.
    """
    if path.suffix == ".txt":
        return read_listing(path, _COLUMNS, report)
    found = []
    for number, name, cells in _photos(path, load_matlab(path, (*_BOXES, *_LABELS)), report):
        try:
            found.append(ListedPhoto(f"{name}.jpg", _rows(cells, number)))
        except ValueError as error:
            event = name.partition("/")[0]
            report(DataError(path, f"a photo of {event} can't be read: {error}", number))
    return found


def _photos(
    path: Path, variables: Sequence[NDArray[Any]], report: Report
) -> Iterable[tuple[int, str, list[Any]]]:
    """Yield each photo's number, ``<event>/<name>``, and its cell of each variable.

    The variables are the events' names, the photos' names by event, and any others by event and
    photo. ``path`` is for messages.
    """
    events, files, *columns = variables
    number = 0
    for index, event_cell in enumerate(events):
        try:
            event = text_of(event_cell)
            names, *lists = (np.asarray(column[index]).reshape(-1) for column in (files, *columns))
            if any(len(cells) != len(names) for cells in lists):
                raise ValueError("lists of different length")
        except (ValueError, IndexError) as error:
            report(DataError(path, f"event {index + 1} can't be read: {error}"))
            continue
        for name_cell, *cells in zip(names, *lists, strict=True):
            number += 1
            try:
                name = text_of(name_cell)
                if Path(name).name != name or Path(event).name != event:
                    raise ValueError(f"it lies outside the set: {event}/{name}")
            except ValueError as error:
                report(DataError(path, f"a photo of {event} can't be read: {error}", number))
                continue
            yield number, f"{event}/{name}", cells


def _rows(cells: Sequence[Any], number: int) -> tuple[tuple[int, tuple[float, ...]], ...]:
    boxes, *labels = rows_of(cells[0], 4), *(rows_of(cell, 1) for cell in cells[1:])
    for column, kind in zip(labels, ("validity", "occlusion"), strict=True):
        if len(column) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes, but {len(column)} labels of {kind}")
    if not boxes.any():
        return ()  # a photo without faces has one of zeros
    table = np.zeros((len(boxes), _COLUMNS))
    table[:, :4] = boxes[:, :4]
    table[:, INVALID], table[:, OCCLUSION] = (column[:, 0] for column in labels)
    return tuple((number, tuple(map(float, row))) for row in table)


def read_labels(
    path: Path,
    photo_folder: Path | None = None,
    unlabeled: Callable[[Path], None] | None = None,
) -> list[PhotoLabels | DataError]:
    """Read a label file as ``facekit.labels.folder.find_labels`` does.

    Faces that are marked invalid, or have no area, are ignored. Photos lie in ``photo_folder`` or
    ``WIDER_<part>/images`` next to the label file's folder, in folders by event. Raises DataError
    if the label file or the folder of photos can't be read.
    """
    found: list[PhotoLabels | DataError] = []
    listed = read_list(path, found.append)
    match = _FILE.fullmatch(path.name)
    part = match[1] if match else "val"
    images = photo_folder or path.absolute().parent.parent / f"WIDER_{part}" / "images"
    if not images.is_dir():
        raise DataError(images, "no such folder")
    events = {name.rpartition("/")[0] for name in (photo.name for photo in listed)}
    files = {
        file
        for event in sorted(events)
        if (images / event).is_dir()
        for file in list_files(images / event, PHOTO_SUFFIXES)
    }
    for photo in listed:
        file = images / photo.name
        if file not in files:
            line = photo.rows[0][0] if photo.rows else None
            found.append(DataError(path, f"no photo {photo.name} in {images}", line))
            continue
        found.append(_labels(photo, file, path))
    if unlabeled is not None:
        for file in sorted(files - {images / photo.name for photo in listed}):
            unlabeled(file)
    return found


def _labels(photo: ListedPhoto, file: Path, source: Path) -> PhotoLabels:
    rows = np.array([row[:_COLUMNS] for _, row in photo.rows], np.float32).reshape(-1, _COLUMNS)
    sizes = rows[:, 2:4]
    return PhotoLabels(
        photo=file,
        size_wh=None,
        boxes_xyxy=np.hstack([rows[:, :2], rows[:, :2] + sizes]),
        class_names=(_CLASS,) * len(rows),
        ignored=(rows[:, INVALID] == 1) | (sizes <= 0).any(axis=1),
        points_xy=(None,) * len(rows),
        source=source,
    )


@dataclass(frozen=True)
class WiderSubsets:
    """The faces of all photos by ``<event>/<name>``, and which of them each subset counts.

    ``boxes_xywh`` are float64 [n, 4], left, top, width and height, in pixels of the photo, and
    ``counted``, by the subset's name and then by photo, bool [n].
    """

    boxes_xywh: Mapping[str, NDArray[np.float64]]
    counted: Mapping[str, Mapping[str, NDArray[np.bool_]]]


def photo_key(photo: Path) -> str:
    """Return the name by which the subsets know a photo: ``<event>/<name>``, without its suffix."""
    return f"{photo.parent.name}/{photo.stem}"


def subsets_of(path: Path) -> WiderSubsets | None:
    """Read the subsets of the labels that a path stands for; None where there are none.

    They are of part ``val``, and are looked for beside the label file, and in the folders
    ``ground_truth`` and ``eval_tools/ground_truth`` next to its own. Their indices count in
    ``wider_face_val.mat``, which lies beside them or beside the label file. Raises DataError if one
    can't be read or does not fit that, and ModuleNotFoundError if SciPy is not installed.
    """
    label_file = find_file(path)
    if label_file is None or not label_file.name.startswith("wider_face_val"):
        return None
    own = label_file.absolute().parent
    folders = (own, own.parent / "ground_truth", own.parent / "eval_tools" / "ground_truth")
    for folder in folders:
        files = {name: folder / f"wider_{name}_val.mat" for name in SUBSETS}
        there = {name: file for name, file in files.items() if file.is_file()}
        if there:
            break
    else:
        return None

    whole = folder / "wider_face_val.mat"
    whole = whole if whole.is_file() else own / whole.name
    variables = load_matlab(whole, _BOXES)
    variables += [load_matlab(file, ("gt_list",))[0] for file in there.values()]
    problems: list[DataError] = []
    boxes: dict[str, NDArray[np.float64]] = {}
    counted: dict[str, dict[str, NDArray[np.bool_]]] = {name: {} for name in there}
    for number, name, (box_cell, *cells) in _photos(whole, variables, problems.append):
        try:
            boxes[name] = rows_of(box_cell, 4)[:, :4]
            for subset, cell in zip(there, cells, strict=True):
                counted[subset][name] = _counted(rows_of(cell, 1)[:, 0], len(boxes[name]))
        except ValueError as error:
            problems.append(DataError(whole, f"{name} and its subsets: {error}", number))
    if problems:
        raise problems[0]
    return WiderSubsets(boxes, counted)


def _counted(numbers: NDArray[np.float64], faces: int) -> NDArray[np.bool_]:
    """Return which faces are among those of some numbers, which count from 1."""
    counted = np.isin(np.arange(1, faces + 1), numbers)
    if counted.sum() != len(numbers):
        raise ValueError(f"a subset has other faces than 1 to {faces}, or one twice")
    return counted
