"""Read WIDER FACE: faces by event, in text lists or MATLAB cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from facekit.datasets.label_files import (
    ListedPhoto,
    load_matlab,
    read_listing,
    rows_of,
    text_of,
)
from facekit.datasets.source import NO_MASK, Report, SourcePhoto, face_of
from facekit.errors import DataError

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

_VARIABLES = ("event_list", "file_list", "face_bbx_list", "occlusion_label_list")
_OCCLUSION = 8
"""Column of the text lists, after x y w h blur expression illumination invalid."""
_COLUMNS = 10


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
    ``wider_face_<part>.mat``, which has the same; the photos from ``WIDER_<part>/images``.

    Raises:
        DataError: The labels or the folder of photos are missing or unusable.
        ModuleNotFoundError: SciPy is not installed, and the labels are in a ``.mat`` file.
    """
    part = "val" if evaluation else "train"
    images = folder / f"WIDER_{part}" / "images"
    if not images.is_dir():
        raise DataError(images, "no such folder")
    path = folder / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt"
    if path.is_file():
        listed = read_listing(path, _COLUMNS, report)
    else:
        path = path.with_name(f"wider_face_{part}.mat")
        if not path.is_file():
            raise DataError(path, f"no such file, nor {path.stem}_bbx_gt.txt")
        listed = _from_matlab(path, report)
    photos = []
    for entry in sorted(listed, key=lambda entry: entry.name):
        if events is not None and entry.name.split("/")[0] not in events:
            continue
        clear = sum(numbers[_OCCLUSION] == 0 for _, numbers in entry.rows)
        if not 1 <= clear <= most_faces:
            continue
        faces = []
        for line, numbers in entry.rows:
            x, y, width, height = numbers[:4]
            class_name = NO_MASK if numbers[_OCCLUSION] == 0 else None
            faces.append(face_of((x, y, x + width, y + height), class_name, path, line, report))
        usable = tuple(face for face in faces if face is not None)
        photos.append(SourcePhoto(Path(entry.name).stem, images / entry.name, path, usable))
    return photos


def _from_matlab(path: Path, report: Report) -> list[ListedPhoto]:
    """Read the cells as rows of the text lists; a row's line is the photo's number in the file."""
    events, *columns = load_matlab(path, _VARIABLES)
    found: list[ListedPhoto] = []
    number = 0
    for index, event_cell in enumerate(events):
        try:
            event = text_of(event_cell)
            files, boxes, occlusions = (np.asarray(column[index]).reshape(-1) for column in columns)
            if not len(files) == len(boxes) == len(occlusions):
                raise ValueError("lists of different length")
        except (ValueError, IndexError) as error:
            report(DataError(path, f"event {index + 1} can't be read: {error}"))
            continue
        for cells in zip(files, boxes, occlusions, strict=True):
            number += 1
            try:
                found.append(_listed(event, cells, number))
            except ValueError as error:
                report(DataError(path, f"a photo of {event} can't be read: {error}", number))
    return found


def _listed(event: str, cells: Iterable[object], number: int) -> ListedPhoto:
    file, boxes, occlusion = cells
    name = text_of(file)
    if Path(name).name != name or Path(event).name != event:
        raise ValueError(f"it lies outside the set: {event}/{name}")
    box_rows, occlusion_rows = rows_of(boxes, 4), rows_of(occlusion, 1)
    if len(box_rows) != len(occlusion_rows):
        raise ValueError(f"{len(box_rows)} boxes, but {len(occlusion_rows)} labels of occlusion")
    if not box_rows.any():
        box_rows = box_rows[:0]  # a photo without faces
    rows = []
    for box, hidden in zip(box_rows, occlusion_rows, strict=False):
        numbers = [0.0] * _COLUMNS
        numbers[:4] = [float(value) for value in box[:4]]
        numbers[_OCCLUSION] = float(hidden[0])
        rows.append((number, tuple(numbers)))
    return ListedPhoto(f"{event}/{name}.jpg", tuple(rows))
