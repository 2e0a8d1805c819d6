"""Read and write KITTI labels: one object a line, boxes in pixels of the photo."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from facekit.errors import DataError, reading
from facekit.labels.photo_labels import PhotoLabels

DONT_CARE = "DontCare"
"""KITTI's class of regions that are neither an object nor background."""

_FIELDS = 15
_BOX = slice(4, 8)
_ZEROS = ("0",) * 7


def read_kitti(path: Path, report: Callable[[DataError], None] | None = None) -> PhotoLabels:
    """Read the labels of one photo.

    A line has 15 fields (16 with a score): class, truncation, occlusion, angle, x1, y1, x2, y2,
    and seven of three dimensions, which are not looked at. An empty file is a photo without
    objects. A line that is malformed or has an empty box is left out and goes to ``report``, or
    is raised as DataError without one, as a file that can't be read is.
    """
    boxes: list[list[float]] = []
    names: list[str] = []
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            boxes.append(_box(path, number, fields))
        except DataError as error:
            if report is None:
                raise
            report(error)
            continue
        names.append(fields[0])
    return PhotoLabels(
        photo=None,
        size_wh=None,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        class_names=tuple(names),
        ignored=np.array([name.lower() == DONT_CARE.lower() for name in names], dtype=bool),
        points_xy=(None,) * len(names),
        source=path,
    )


def _box(path: Path, number: int, fields: list[str]) -> list[float]:
    if len(fields) not in (_FIELDS, _FIELDS + 1):
        raise DataError(path, f"{len(fields)} fields, expected {_FIELDS} of KITTI", number)
    text = " ".join(fields[_BOX])
    try:
        x1, y1, x2, y2 = (float(field) for field in fields[_BOX])
    except ValueError:
        raise DataError(path, f"a box that is not four numbers: {text}", number) from None
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
        raise DataError(path, "a box that is not finite", number)
    if x2 <= x1 or y2 <= y1:
        raise DataError(path, f"an empty box: {text}", number)
    return [x1, y1, x2, y2]


def written_box(box_xyxy: Iterable[float]) -> tuple[float, float, float, float] | None:
    """Return a box x1, y1, x2, y2 in pixels rounded to KITTI's two decimals.

    None where it has no area left, which :func:`read_kitti` refuses.
    """
    # Adding 0 makes 0 of -0.
    x1, y1, x2, y2 = (round(value, 2) + 0.0 for value in box_xyxy)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def kitti_line(class_name: str, box_xyxy: Iterable[float]) -> str:
    """Return one object as a line of 15 fields, its box as :func:`written_box` gives it.

    Raises ValueError if the class name contains a space or is empty, or the box has no area.

    >>> kitti_line("Mask", (1, 2.5, 30, 40.126))
    'Mask 0 0 0 1.00 2.50 30.00 40.13 0 0 0 0 0 0 0'
    """
    if len(class_name.split()) != 1:
        raise ValueError(f"a KITTI class is one word, not {class_name!r}")
    corners = tuple(box_xyxy)
    box = written_box(corners)
    if box is None:
        raise ValueError(f"a box without area: {corners}")
    return " ".join((class_name, "0", "0", "0", *(f"{value:.2f}" for value in box), *_ZEROS))
