"""Read COCO files into records: the kit's own, others', and those with left-top-right-bottom boxes.

**Boxes.** COCO's are x, y, width, height ("xywh"). The notebook that the kit's workflow comes from
wrote left, top, right, bottom ("ltrb") into the same field. Unless ``boxes`` says which, the
annotations decide, and they have to agree:

- ltrb, if none has an ``id``, an ``area`` or an ``iscrowd``, and each has its points as pairs in
  ``segmentation``: ``[[x, y], [x, y], ...]``, which no COCO file has;
- xywh, if each has an ``id`` and none has such pairs.

Anything else is refused until ``boxes`` is given: a wrong guess moves every box. So is a file
that would be xywh, but in which such boxes reach more than a tenth of the photo's side beyond it
while none would as ltrb; the kit's own files are never doubted.

**What a file does not say.** A face without ``score`` has 1. The points of an ltrb file are those
in ``segmentation``, of others those in ``keypoints``; a point that is not labeled (visibility 0)
is 0, 0 with a point score of 0, and any other without ``keypoint_scores`` has 1. The state of a
photo's file is unknown, so every :class:`FileStamp` is of 0 bytes and time 0. Crowds are left out,
they are not single faces.

**Names.** If all file names are absolute, they become relative to the photo folder where they all
lie in it, be it given or named by the file; else to the deepest folder that contains them all, in
whose place a given photo folder stands.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from facekit.annotations.coco import FACE
from facekit.annotations.dataset import Dataset, DatasetInfo, NumberedPhoto, name_of, utf8_name
from facekit.annotations.output import DESCRIPTION
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import DataError, InputError
from facekit.faces import Faces
from facekit.labels.coco import Entry, has_pairs, is_id, is_side, load_coco, numbers, shown
from facekit.landmarks.scheme import POINT_COUNTS, point_names

BoxKind = Literal["ltrb", "xywh"]
_MARKS = ("id", "area", "iscrowd")
"""Of COCO's annotations; the files with left, top, right, bottom have none of them."""
_BEYOND = 0.1
"""Of the photo's side; faces that are cut by its border have boxes that reach a little beyond."""
Placed = tuple[str, Entry]
"""An entry and its place in the file, such as ``annotations[3]``."""
_UNKNOWN = FileStamp(0, 0)
_MOST_CHANNELS = 4
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class _Scheme:
    """What all faces of a file have in common.

    ``class_names`` is () where there is but one kind of face; ``categories`` has the place in the
    classes of each category id.
    """

    boxes: BoxKind
    point_count: int
    class_names: tuple[str, ...]
    categories: dict[Any, int]


def read_dataset(
    path: Path, photo_folder: Path | None = None, *, boxes: BoxKind | None = None
) -> Dataset:
    """Read a COCO file, or one with left-top-right-bottom boxes, into memory.

    Args:
        path: The ``.json`` file with ``images``, ``annotations`` and ``categories``.
        photo_folder: Folder that the file names count from; when left out the one that the file
            names in its ``info``, else the file's own.
        boxes: Which kind the boxes are, where the file does not say.

    Raises:
        DataError: The file is missing or malformed; names the entry, from 0, such as
            ``annotations[3]``.
    """
    data = load_coco(path)
    images = _images(path, data["images"])
    annotations = _by_image(path, data["annotations"], images)
    info: Entry = data["info"] if isinstance(data.get("info"), dict) else {}
    kind = boxes or _box_kind(path, data["annotations"])
    if boxes is None and kind == "xywh" and info.get("description") != DESCRIPTION:
        _check_xywh(path, annotations, images)
    scheme = _scheme(path, data, kind, annotations)
    stated = name_of(info, "photo_folder")
    folder, names = _names(
        [name_of(entry, "file_name") for entry in images.values()],
        photo_folder and photo_folder.absolute(),
        Path(stated) if stated else path.absolute().parent,
    )
    photos = []
    for (number, image), name in zip(images.items(), names, strict=True):
        size_wh = image["width"], image["height"]
        channels = image.get("channels")
        known = channels if type(channels) is int and 0 <= channels <= _MOST_CHANNELS else 0
        try:
            faces = _read_faces(path, annotations[number], scheme, size_wh, known)
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


def _scheme(
    path: Path, data: Entry, kind: BoxKind, annotations: dict[int, list[Placed]]
) -> _Scheme:
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
    return _Scheme(kind, _point_count(path, data, kind, annotations), tuple(names), places)


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
            points = len(_read_points(path, (where, entry), kind)) // 3
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


def _names(names: list[str], given: Path | None, stated: Path) -> tuple[Path, list[str]]:
    """Return the photo folder, and the names below it."""
    paths = [PurePosixPath(name) for name in names]
    if not paths or not all(path.is_absolute() for path in paths):
        return given or stated, names
    for folder in (given, stated):
        if folder is not None and all(path.is_relative_to(folder) for path in paths):
            return given or folder, [str(path.relative_to(folder)) for path in paths]
    top = os.path.commonpath([path.parent for path in paths])
    return given or Path(top), [str(path.relative_to(top)) for path in paths]


def _box_kind(path: Path, annotations: Sequence[Any]) -> BoxKind:
    """Return which kind the boxes are, as all annotations show together, or raise DataError."""
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    if all("id" in entry and not has_pairs(entry) for entry in entries):
        return "xywh"
    if all(has_pairs(entry) and not any(mark in entry for mark in _MARKS) for entry in entries):
        return "ltrb"
    raise DataError(
        path,
        "can't be told whether its boxes are x, y, width, height or left, top, right, bottom; "
        "say which (--boxes xywh or --boxes ltrb)",
    )


def _check_xywh(
    path: Path, annotations: Mapping[int, Sequence[Placed]], images: Mapping[int, Entry]
) -> None:
    """Refuse boxes that were taken for x, y, width, height and fit their photos only as the other.

    Raises DataError if one of them reaches more than a tenth of the photo's side beyond it, and
    none would if all were left, top, right, bottom, or if a box is malformed.
    """
    beyond = 0
    for number, entries in annotations.items():
        most = [(1 + _BEYOND) * images[number][side] for side in ("width", "height")]
        for where, entry in entries:
            a, b, c, d = numbers(path, entry.get("bbox"), 4, f"bbox of {where}")
            if not (a < c <= most[0] and b < d <= most[1]):
                return
            beyond += a + c > most[0] or b + d > most[1]
    if beyond:
        raise DataError(
            path,
            f"as x, y, width, height {beyond:,} of its boxes reach far beyond their photos, and "
            "all fit as left, top, right, bottom; say which (--boxes xywh or --boxes ltrb)",
        )


def _read_points(path: Path, entry: Placed, boxes: BoxKind) -> list[float]:
    """Return the points of an annotation as x, y, visibility, x, ...; [] where it has none."""
    where, data = entry
    if boxes == "xywh":
        values = data.get("keypoints") or []
        if not isinstance(values, list) or len(values) % 3:
            raise DataError(path, f"keypoints of {where}: not a list of x, y, visibility")
        return numbers(path, values, len(values), f"keypoints of {where}")
    what = f"segmentation of {where}"
    parts = data.get("segmentation") or []
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], list):
        flat = parts[0]
        parts = [flat[place : place + 2] for place in range(0, len(flat), 2)]
    if not isinstance(parts, list):
        raise DataError(path, f"{what}: expected x, y pairs, got {shown(parts)}")
    pairs = [numbers(path, pair, 2, what) for pair in parts]
    return [value for x, y in pairs for value in (x, y, 2.0)]


def _read_faces(
    path: Path, entries: Iterable[Placed], scheme: _Scheme, size_wh: tuple[int, int], channels: int
) -> Faces:
    """Return the faces of one photo, in the file's order; crowds are left out."""
    boxes, scores, labels, points, point_scores, sharpness = [], [], [], [], [], []
    for where, entry in entries:
        boxes.append(_box(path, where, entry, scheme.boxes))
        scores.append(_score(path, where, entry))
        labels.append(_label(path, where, entry, scheme))
        sharpness.append(_sharpness(path, where, entry))
        xyv = np.array(_read_points(path, (where, entry), scheme.boxes)).reshape(-1, 3)
        if len(xyv) == 0:
            xyv = np.zeros((scheme.point_count, 3))
        there = xyv[:, 2:] != 0
        points.append(np.where(there, xyv[:, :2], 0.0))
        point_scores.append(_point_scores(path, where, entry, there[:, 0]))
    count = len(boxes)
    return Faces(
        boxes_xyxy=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.array(scores, np.float32),
        points_xy=np.array(points, np.float32).reshape(count, scheme.point_count, 2),
        point_scores=np.array(point_scores, np.float32).reshape(count, scheme.point_count),
        size_wh=size_wh,
        labels=np.array(labels if scheme.class_names else [], np.int32),
        class_names=scheme.class_names,
        channels=channels,
        sharpness=np.array(sharpness, np.float32),
    )


def _box(path: Path, where: str, entry: Entry, kind: BoxKind) -> list[float]:
    a, b, c, d = numbers(path, entry.get("bbox"), 4, f"bbox of {where}")
    right, bottom = (c, d) if kind == "ltrb" else (a + c, b + d)
    # A width of 0 does not mean another kind: COCO's own files have some, and a sliver at the
    # border of a photo is rounded to it.
    flat = kind == "ltrb" and (right == a or bottom == b)
    if right < a or bottom < b or flat:
        raise DataError(path, f"{where} has an empty box: {entry['bbox']}, read as {kind}")
    return [a, b, right, bottom]


def _score(path: Path, where: str, entry: Entry) -> float:
    value = entry.get("score")
    return 1.0 if value is None else numbers(path, [value], 1, f"score of {where}")[0]


def _sharpness(path: Path, where: str, entry: Entry) -> float:
    value = entry.get("sharpness")
    return math.nan if value is None else numbers(path, [value], 1, f"sharpness of {where}")[0]


def _label(path: Path, where: str, entry: Entry, scheme: _Scheme) -> int:
    category = entry.get("category_id")
    # Not `in` alone: a list can't be looked up.
    if not isinstance(category, (int, str)) or category not in scheme.categories:
        raise DataError(path, f"{where} is of category {shown(category)}, not listed")
    return scheme.categories[category]


def _point_scores(path: Path, where: str, entry: Entry, there: np.ndarray[Any, Any]) -> list[float]:
    values = entry.get("keypoint_scores")
    if values is None:
        return [float(seen) for seen in there]
    return numbers(path, values, len(there), f"keypoint_scores of {where}")
