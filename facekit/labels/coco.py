"""Reader of COCO annotation files: boxes, and keypoints where there are some."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError
from facekit.labels.photo_labels import PhotoLabels


def read_coco(path: Path, photo_folder: Path | None = None) -> list[PhotoLabels | DataError]:
    """Read the labels of all photos of a file.

    Args:
        path: The ``.json`` file with ``images``, ``annotations`` and ``categories``.
        photo_folder: Folder that the file names count from; the file's own when left out.

    Returns:
        The photos in the file's order; in the place of a photo with a malformed annotation stands
        what is wrong with it.

    Raises:
        DataError: The file is missing, or is no COCO annotation file.
    """
    data = _load(path)
    folder = path.parent if photo_folder is None else photo_folder
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in data["categories"]}
        images: dict[Any, dict[str, Any]] = {entry["id"]: entry for entry in data["images"]}
        objects: dict[Any, list[dict[str, Any]]] = {number: [] for number in images}
        for entry in data["annotations"]:
            if entry["image_id"] not in objects:
                reason = f"annotation {entry.get('id')} is of image {entry['image_id']}, not listed"
                raise DataError(path, reason)
            objects[entry["image_id"]].append(entry)
    except KeyError as error:
        raise DataError(path, f"an entry has no {error.args[0]!r}") from error
    except (TypeError, AttributeError) as error:
        raise DataError(path, f"is not laid out as COCO annotations: {error}") from error
    found: list[PhotoLabels | DataError] = []
    for number, image in images.items():
        try:
            found.append(_photo(path, folder, image, objects[number], categories))
        except DataError as error:
            found.append(error)
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except json.JSONDecodeError as error:
        raise DataError(path, f"is not JSON: {error.msg}", error.lineno) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    if not isinstance(data, dict) or not {"images", "annotations", "categories"} <= data.keys():
        raise DataError(path, "is no COCO file: needs images, annotations and categories")
    return data


def _photo(
    path: Path,
    folder: Path,
    image: dict[str, Any],
    objects: list[dict[str, Any]],
    categories: dict[Any, str],
) -> PhotoLabels:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(path, f"image {image['id']} has no file_name")
    boxes, names, ignored, points = [], [], [], []
    for entry in objects:
        what = f"annotation {entry.get('id')} of {name}"
        x, y, width, height = _numbers(path, entry.get("bbox"), 4, f"bbox of {what}")
        if width <= 0 or height <= 0:
            raise DataError(path, f"{what} has an empty box: {entry['bbox']}")
        if entry.get("category_id") not in categories:
            raise DataError(path, f"{what} is of category {entry.get('category_id')}, not listed")
        boxes.append([x, y, x + width, y + height])
        names.append(categories[entry["category_id"]])
        ignored.append(bool(entry.get("iscrowd", 0)))
        points.append(_points(path, entry.get("keypoints"), f"keypoints of {what}"))
    size = image.get("width"), image.get("height")
    whole = all(isinstance(side, int) and side > 0 for side in size)
    return PhotoLabels(
        photo=folder / name,
        size_wh=(int(image["width"]), int(image["height"])) if whole else None,
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
    triples = np.array(_numbers(path, values, len(values), what)).reshape(-1, 3)
    points = triples[:, :2].astype(np.float32)
    points[triples[:, 2] == 0] = np.nan
    return points if np.isfinite(points).any() else None


def _numbers(path: Path, values: Any, count: int, what: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise DataError(path, f"{what}: expected {count} numbers, got {values}")
    if not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    ):
        raise DataError(path, f"{what}: something is not a finite number")
    return [float(value) for value in values]
