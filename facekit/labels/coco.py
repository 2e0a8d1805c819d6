"""Read COCO annotation files: boxes, and keypoints where there are some."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, reading
from facekit.labels.photo_labels import PhotoLabels

LARGEST = 1e9
"""Largest coordinate: beyond any photo, and its square is still a number in float32."""
_SHOWN = 60
Entry = dict[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """The photos of a file in its order, and the names of all that it lists.

    In the place of a photo with a malformed annotation stands what is wrong with it; what is wrong
    with entries that are of no photo follows.
    """

    labels: list[PhotoLabels | DataError]
    photo_names: frozenset[str]


def read_coco(path: Path) -> CocoFile:
    """Read the labels of all photos of a file, whose names count from its folder.

    An entry that can't be used spoils no more than its own photo. Entries are named by their
    place, such as ``annotations[3]``, from 0. Raises DataError if the file is not a COCO annotation
    file, or its boxes are left, top, right, bottom.
    """
    data = load_coco(path)
    if any(isinstance(entry, dict) and has_pairs(entry) for entry in data["annotations"]):
        raise DataError(
            path,
            "its segmentation is a list of x, y pairs, as in files whose boxes are left, top, "
            "right, bottom; facekit export makes it COCO",
        )
    stray: list[DataError] = []
    named = _entries(path, data, "categories", "name", stray)
    categories = {entry["id"]: str(entry["name"]) for _, entry in named}
    images = _entries(path, data, "images", "file_name", stray)
    taken = Counter(entry["file_name"] for _, entry in images)
    objects: dict[Any, list[tuple[str, Entry]]] = defaultdict(list)
    # Annotations of an image that is refused are refused with it, and not reported themselves.
    dicts = [entry for entry in data["images"] if isinstance(entry, dict)]
    listed = {entry["id"] for entry in dicts if is_id(entry.get("id"))}
    for index, entry in enumerate(data["annotations"]):
        where = f"annotations[{index}]"
        number = entry.get("image_id") if isinstance(entry, dict) else None
        if not is_id(number):
            stray.append(DataError(path, f"{where} has no image_id that is a number or a text"))
        elif number not in listed:
            stray.append(DataError(path, f"{where} is of image {shown(number)}, not listed"))
        else:
            objects[number].append((where, entry))
    found: list[PhotoLabels | DataError] = []
    for where, image in images:
        try:
            entries = taken[image["file_name"]]
            if entries > 1:
                raise DataError(path, f"{where} is one of {entries} of {image['file_name']}")
            found.append(_photo(path, image, objects[image["id"]], categories))
        except DataError as error:
            found.append(error)
    names = (entry.get("file_name") for entry in dicts)
    return CocoFile([*found, *stray], frozenset(name for name in names if isinstance(name, str)))


def _entries(
    path: Path, data: dict[str, Any], part: str, text: str, stray: list[DataError]
) -> list[tuple[str, Entry]]:
    """Return the entries that have an id of their own and a text, with their places."""
    usable: list[tuple[str, Entry]] = []
    places: dict[Any, list[str]] = defaultdict(list)
    for index, entry in enumerate(data[part]):
        where = f"{part}[{index}]"
        if not isinstance(entry, dict) or not is_id(entry.get("id")):
            stray.append(DataError(path, f"{where} has no id that is a number or a text"))
            continue
        places[entry["id"]].append(where)
        if not isinstance(entry.get(text), str) or not entry[text]:
            stray.append(DataError(path, f"{where} has no {text}"))
        else:
            usable.append((where, entry))
    for number, wheres in places.items():
        if len(wheres) > 1:
            reason = f"{' and '.join(wheres)} have one id, {shown(number)}"
            stray.append(DataError(path, reason))
    return [(where, entry) for where, entry in usable if len(places[entry["id"]]) == 1]


def _photo(
    path: Path, image: Entry, objects: Iterable[tuple[str, Entry]], categories: dict[Any, str]
) -> PhotoLabels:
    name = image["file_name"]
    boxes, names, ignored, points = [], [], [], []
    for where, entry in objects:
        what = f"{where} of {name}"
        x, y, width, height = numbers(path, entry.get("bbox"), 4, f"bbox of {what}")
        if width <= 0 or height <= 0:
            raise DataError(path, f"{what} has an empty box: {entry['bbox']}")
        category = entry.get("category_id")
        if not isinstance(category, Hashable) or category not in categories:
            raise DataError(path, f"{what} is of category {shown(category)}, not listed")
        if entry.get("iscrowd", 0) not in (0, 1):
            raise DataError(path, f"iscrowd of {what}: expected 0 or 1")
        boxes.append([x, y, x + width, y + height])
        names.append(categories[category])
        ignored.append(bool(entry.get("iscrowd", 0)))
        points.append(_points(path, entry.get("keypoints"), f"keypoints of {what}"))
    size: tuple[Any, Any] = (image.get("width"), image.get("height"))
    return PhotoLabels(
        photo=path.parent / name,
        size_wh=size if all(map(is_side, size)) else None,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        class_names=tuple(names),
        ignored=np.array(ignored, dtype=bool),
        points_xy=tuple(points),
        source=path,
    )


def _points(path: Path, values: Any, what: str) -> NDArray[np.float32] | None:
    """Return keypoints (x, y, visibility each) as points, NaN where the visibility is 0."""
    if not values:
        return None
    if not isinstance(values, list) or len(values) % 3:
        raise DataError(path, f"{what}: not a list of x, y, visibility")
    triples = np.array(numbers(path, values, len(values), what)).reshape(-1, 3)
    points = triples[:, :2].astype(np.float32)
    points[triples[:, 2] == 0] = np.nan
    return points if np.isfinite(points).any() else None


def load_coco(path: Path) -> dict[str, Any]:
    """Return a file's content: ``images``, ``annotations`` and ``categories`` are lists.

    Raises DataError if the file is missing, or is not a COCO annotation file.
    """
    try:
        with reading(path):
            # "-sig" passes over the mark with which programs of Windows begin a text.
            text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"is not a COCO file, which is one JSON object: {error.msg}"
        raise DataError(path, reason, error.lineno) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        raise DataError(path, f"is not JSON that can be read: {error}") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not set(parts) <= data.keys():
        raise DataError(path, f"is not a COCO file: needs {', '.join(parts)}")
    for part in parts:
        if not isinstance(data[part], list):
            raise DataError(path, f"is not laid out as COCO annotations: {part} is not a list")
    return data


def has_pairs(entry: Entry) -> bool:
    """Tell whether an annotation's segmentation is a list of x, y pairs; no polygon is as short.

    Files with it have their boxes as left, top, right, bottom, see
    ``facekit.annotations.coco_reader``.
    """
    parts = entry.get("segmentation")
    if not isinstance(parts, list) or not parts:
        return False
    return all(isinstance(part, list) and len(part) == 2 for part in parts)


def is_id(value: Any) -> bool:
    """Tell whether a value can be an entry's id: an integer or a text."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def is_side(value: Any) -> bool:
    """Tell whether a value can be a photo's width or height."""
    return type(value) is int and 0 < value < LARGEST


def shown(value: Any) -> str:
    """Return a value as an error shows it, cut to ``_SHOWN`` characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def numbers(path: Path, values: Any, count: int, what: str) -> list[float]:
    """Return a list of ``count`` numbers that can be coordinates in a photo.

    A DataError names ``what`` is something else.
    """
    if not isinstance(values, list) or len(values) != count:
        raise DataError(path, f"{what}: expected {count} numbers, got {shown(values)}")
    if not all(
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not (isinstance(value, float) and math.isnan(value))
        and abs(value) <= LARGEST
        for value in values
    ):
        raise DataError(path, f"{what}: not coordinates in a photo")
    return [float(value) for value in values]
