"""KITTI label files: one object a line, boxes in pixels of the photo."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facekit.errors import DataError
from facekit.labels.photo_labels import PhotoLabels

DONT_CARE = "DontCare"
"""KITTI's class of regions that are neither an object nor background."""

_FIELDS = 15
_BOX = slice(4, 8)
_ZEROS = ("0",) * 7


def read_kitti(path: Path) -> PhotoLabels:
    """Read the labels of one photo.

    A line holds 15 fields (16 with a score): class, truncation, occlusion, angle, x1, y1, x2, y2,
    and seven of three dimensions, which are not looked at. An empty file is a photo without
    objects.

    Args:
        path: The ``.txt`` file.

    Raises:
        DataError: The file is missing, or a line is malformed or has an empty box.
    """
    boxes: list[list[float]] = []
    names: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (_FIELDS, _FIELDS + 1):
            reason = f"{len(fields)} fields, expected {_FIELDS} of KITTI"
            raise DataError(path, reason, number)
        try:
            x1, y1, x2, y2 = (float(field) for field in fields[_BOX])
        except ValueError:
            text = " ".join(fields[_BOX])
            raise DataError(path, f"a box that is not four numbers: {text}", number) from None
        if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
            raise DataError(path, "a box that is not finite", number)
        if x2 <= x1 or y2 <= y1:
            raise DataError(path, f"an empty box: {' '.join(fields[_BOX])}", number)
        boxes.append([x1, y1, x2, y2])
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


def kitti_line(class_name: str, box_xyxy: Iterable[float]) -> str:
    """Return one object as a line of 15 fields, its box with two decimals as KITTI's own files.

    >>> kitti_line("Mask", (1, 2.5, 30, 40.126))
    'Mask 0 0 0 1.00 2.50 30.00 40.13 0 0 0 0 0 0 0'

    Raises:
        ValueError: The class name has a space in it, or is empty.
    """
    if len(class_name.split()) != 1:
        raise ValueError(f"a KITTI class is one word, not {class_name!r}")
    # Adding 0 makes 0 of -0.
    box = (f"{round(value, 2) + 0.0:.2f}" for value in box_xyxy)
    return " ".join((class_name, "0", "0", "0", *box, *_ZEROS))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}") from error
