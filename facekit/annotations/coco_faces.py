"""The annotations of a COCO file as faces: which kind its boxes are, and their arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facekit.errors import DataError
from facekit.faces import Faces
from facekit.labels.coco import Entry, has_pairs, numbers, shown

BoxKind = Literal["ltrb", "xywh"]
_MARKS = ("id", "area", "iscrowd")
"""Of COCO's annotations; the files with left, top, right, bottom have none of them."""
_BEYOND = 0.1
"""Of the photo's side; faces that are cut by its border have boxes that reach a little beyond."""
Placed = tuple[str, Entry]
"""An entry and its place in the file, such as ``annotations[3]``."""


@dataclass(frozen=True)
class Scheme:
    """What all faces of a file have in common.

    Attributes:
        boxes: Which kind the boxes are.
        point_count: Points a face.
        class_names: The classes; () where there is but one kind of face.
        categories: The place in the classes of each category id.
    """

    boxes: BoxKind
    point_count: int
    class_names: tuple[str, ...]
    categories: dict[Any, int]


def box_kind(path: Path, annotations: Sequence[Any]) -> BoxKind:
    """Return which kind the boxes of a file are, as its annotations tell together.

    Raises:
        DataError: They don't tell, or don't agree.
    """
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


def check_xywh(
    path: Path, annotations: Mapping[int, Sequence[Placed]], images: Mapping[int, Entry]
) -> None:
    """Refuse boxes that were taken for x, y, width, height and fit their photos only as the other.

    Raises:
        DataError: One of them reaches more than a tenth of the photo's side beyond it, and none
            would if all were left, top, right, bottom. Or a box is malformed.
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


def read_points(path: Path, entry: Placed, boxes: BoxKind) -> list[float]:
    """Return the points of an annotation as x, y, visibility, x, ...; [] where it has none.

    Raises:
        DataError: They are malformed.
    """
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


def read_faces(
    path: Path, entries: Iterable[Placed], scheme: Scheme, size_wh: tuple[int, int], channels: int
) -> Faces:
    """Return the faces of one photo, in the file's order; crowds are left out.

    Raises:
        DataError: An annotation is malformed; says which.
    """
    boxes, scores, labels, points, point_scores = [], [], [], [], []
    for where, entry in entries:
        boxes.append(_box(path, where, entry, scheme.boxes))
        scores.append(_score(path, where, entry))
        labels.append(_label(path, where, entry, scheme))
        xyv = np.array(read_points(path, (where, entry), scheme.boxes)).reshape(-1, 3)
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
    )


def _box(path: Path, where: str, entry: Entry, kind: BoxKind) -> list[float]:
    a, b, c, d = numbers(path, entry.get("bbox"), 4, f"bbox of {where}")
    right, bottom = (c, d) if kind == "ltrb" else (a + c, b + d)
    # A width of 0 is no sign of another kind: COCO's own files have some, and a sliver at the
    # border of a photo is rounded to it.
    flat = kind == "ltrb" and (right == a or bottom == b)
    if right < a or bottom < b or flat:
        raise DataError(path, f"{where} has an empty box: {entry['bbox']}, read as {kind}")
    return [a, b, right, bottom]


def _score(path: Path, where: str, entry: Entry) -> float:
    value = entry.get("score")
    return 1.0 if value is None else numbers(path, [value], 1, f"score of {where}")[0]


def _label(path: Path, where: str, entry: Entry, scheme: Scheme) -> int:
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
