"""Reader of COCO files into records: the kit's own, others, and those of left-top-right-bottom.

**Boxes.** COCO's are x, y, width, height ("xywh"). The notebook that the kit's workflow comes from
wrote left, top, right, bottom ("ltrb") into the same field. Unless ``boxes`` says which, the
annotations tell, and they have to agree:

- ltrb, if none has an ``id``, an ``area`` or an ``iscrowd``, and each has its points as pairs in
  ``segmentation``: ``[[x, y], [x, y], ...]``, which no COCO file has;
- xywh, if each has an ``id`` and none has such pairs.

Anything else is refused until ``boxes`` is given: a wrong guess moves every box. So is a file
that would be xywh, but in which such boxes reach more than a tenth of the photo's side beyond it
while none would as ltrb; the kit's own files are never doubted.

**What a file does not tell.** A face without ``score`` has 1. The points of an ltrb file are those
in ``segmentation``, of others those in ``keypoints``; a point that is not labeled (visibility 0)
is 0, 0 with a point score of 0, and any other without ``keypoint_scores`` has 1. The state of a
photo's file is unknown, so every :class:`FileStamp` is of 0 bytes and time 0. Crowds are left out,
they are no single faces.

**Names.** If all file names are absolute, they become relative to the photo folder where they all
lie in it, be it given or named by the file; else to the deepest folder that holds them all, in
whose place a given photo folder stands.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from facekit.annotations.coco import FACE
from facekit.annotations.coco_faces import (
    BoxKind,
    Placed,
    Scheme,
    box_kind,
    check_xywh,
    read_faces,
    read_points,
)
from facekit.annotations.dataset import Dataset, DatasetInfo, NumberedPhoto, name_of, utf8_name
from facekit.annotations.output import DESCRIPTION
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import DataError, InputError
from facekit.labels.coco import Entry, is_id, is_side, load_coco, shown
from facekit.landmarks.scheme import POINT_COUNTS, point_names

_UNKNOWN = FileStamp(0, 0)
_MOST_CHANNELS = 4
_LARGEST_ID = 2**63 - 1


def read_dataset(
    path: Path, photo_folder: Path | None = None, *, boxes: BoxKind | None = None
) -> Dataset:
    """Read a COCO file, or one of its left-top-right-bottom kin, into memory.

    Args:
        path: The ``.json`` file with ``images``, ``annotations`` and ``categories``.
        photo_folder: Folder that the file names count from; when left out the one that the file
            names in its ``info``, else the file's own.
        boxes: Which kind the boxes are, where the file doesn't tell.

    Raises:
        DataError: The file is missing or malformed; names the entry, from 0, such as
            ``annotations[3]``.
    """
    data = load_coco(path)
    images = _images(path, data["images"])
    annotations = _by_image(path, data["annotations"], images)
    info: Entry = data["info"] if isinstance(data.get("info"), dict) else {}
    kind = boxes or box_kind(path, data["annotations"])
    if boxes is None and kind == "xywh" and info.get("description") != DESCRIPTION:
        check_xywh(path, annotations, images)
    scheme = _scheme(path, data, kind, annotations)
    told = name_of(info, "photo_folder")
    folder, names = _names(
        [name_of(entry, "file_name") for entry in images.values()],
        photo_folder and photo_folder.absolute(),
        Path(told) if told else path.absolute().parent,
    )
    photos = []
    for (number, image), name in zip(images.items(), names, strict=True):
        size_wh = image["width"], image["height"]
        channels = image.get("channels")
        known = channels if type(channels) is int and 0 <= channels <= _MOST_CHANNELS else 0
        try:
            faces = read_faces(path, annotations[number], scheme, size_wh, known)
        except InputError as error:  # of values that are numbers, but none of a face
            raise DataError(path, f"faces of {image['file_name']}: {error}") from error
        photos.append(NumberedPhoto(number, PhotoRecord(name, _UNKNOWN, faces)))
    point_names, lines = _point_names(data["categories"], scheme.point_count)
    return Dataset(
        DatasetInfo(
            photo_folder=str(folder),
            model=utf8_name(model) if isinstance(model := info.get("model"), str) else "",
            point_count=scheme.point_count,
            class_names=scheme.class_names,
            point_names=point_names,
            skeleton=lines,
        ),
        photos,
    )


def _images(path: Path, entries: list[Any]) -> dict[int, Entry]:
    """Return the images by their ids, in the file's order."""
    images: dict[int, Entry] = {}
    names: dict[str, str] = {}
    for index, entry in enumerate(entries):
        where = f"images[{index}]"
        number = entry.get("id") if isinstance(entry, dict) else None
        if type(number) is not int:
            raise DataError(path, f"{where} has no id that is a whole number")
        if abs(number) > _LARGEST_ID:
            raise DataError(path, f"{where} has an id beyond 64 bits, {shown(number)}")
        name = name_of(entry, "file_name")
        if not name:
            raise DataError(path, f"{where} has no file_name")
        if number in images:
            raise DataError(path, f"{where} has the id of another image, {number}")
        if name in names:
            raise DataError(path, f"{where} is of the same file as {names[name]}, {shown(name)}")
        if not (is_side(entry.get("width")) and is_side(entry.get("height"))):
            raise DataError(path, f"{where} has no width and height in pixels")
        images[number], names[name] = entry, where
    return images


def _by_image(
    path: Path, entries: list[Any], images: dict[int, Entry]
) -> defaultdict[int, list[Placed]]:
    found: defaultdict[int, list[Placed]] = defaultdict(list)
    for index, entry in enumerate(entries):
        where = f"annotations[{index}]"
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if not is_id(number):
            raise DataError(path, f"{where} has no image_id that is a number")
        if number not in images:
            raise DataError(path, f"{where} is of image {shown(number)}, not listed")
        if entry.get("iscrowd", 0) not in (0, 1):
            raise DataError(path, f"iscrowd of {where}: expected 0 or 1")
        if not entry.get("iscrowd"):
            found[number].append((where, entry))
    return found


def _scheme(path: Path, data: Entry, kind: BoxKind, annotations: dict[int, list[Placed]]) -> Scheme:
    names: list[str] = []
    places: dict[Any, int] = {}
    for index, entry in enumerate(data["categories"]):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not is_id(number) or not _is_text(entry.get("name")):
            raise DataError(path, f"categories[{index}] has no id and name")
        if number in places or entry["name"] in names:
            raise DataError(path, f"categories[{index}] has the id or the name of another")
        places[number] = len(names)
        names.append(entry["name"])
    if len(names) == 1 and names[0].lower() == FACE:
        names = []
    return Scheme(kind, _point_count(path, data, kind, annotations), tuple(names), places)


def _is_text(value: Any) -> bool:
    """Whether a value is a text that is not empty, and one that every format can hold."""
    return isinstance(value, str) and value != "" and utf8_name(value) == value


def _point_count(
    path: Path, data: Entry, kind: BoxKind, annotations: dict[int, list[Placed]]
) -> int:
    """Return the points a face, the same for all that have some."""
    count, first = 0, ""
    for entries in annotations.values():
        for where, entry in entries:
            points = len(read_points(path, (where, entry), kind)) // 3
            if first and points and points != count:
                raise DataError(path, f"{where} has {points} points, {first} has {count}")
            if points:
                count, first = points, where
    if first:
        return count
    listed = (entry.get("keypoints") for entry in data["categories"])
    return max((len(names) for names in listed if isinstance(names, list)), default=0)


def _point_names(
    categories: list[Entry], count: int
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Return the file's own names and lines of the points; nothing for the kit's or unusable."""
    for entry in categories:
        names = entry.get("keypoints")
        if not isinstance(names, list) or len(names) != count or not count:
            continue
        if not all(map(_is_text, names)) or len(set(names)) < count:
            continue
        if count in POINT_COUNTS and tuple(names) == point_names(count):
            continue
        pairs = entry.get("skeleton")
        lines = [
            (pair[0] - 1, pair[1] - 1)
            for pair in (pairs if isinstance(pairs, list) else [])
            if isinstance(pair, list)
            and len(pair) == 2
            and all(type(end) is int and 1 <= end <= count for end in pair)
        ]
        return tuple(names), tuple(lines)
    return (), ()


def _names(names: list[str], given: Path | None, told: Path) -> tuple[Path, list[str]]:
    """Return the photo folder, and the names below it."""
    paths = [PurePosixPath(name) for name in names]
    if not paths or not all(path.is_absolute() for path in paths):
        return given or told, names
    for folder in (given, told):
        if folder is not None and all(path.is_relative_to(folder) for path in paths):
            return given or folder, [str(path.relative_to(folder)) for path in paths]
    top = os.path.commonpath([path.parent for path in paths])
    return given or Path(top), [str(path.relative_to(top)) for path in paths]
