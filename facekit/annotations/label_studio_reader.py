"""Read what Label Studio exports as JSON: the boxes of the kit's own tasks after a correction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from facekit.annotations.dataset import name_of
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import DataError, InputError, reading
from facekit.faces import Faces
from facekit.labels.coco import numbers

_UNKNOWN = FileStamp(0, 0)
_NO_AREAS = ("keypointlabels", "relation", "choices", "textarea", "rating")
"""Kinds of regions that mark no part of a photo."""


def is_label_studio(path: Path) -> bool:
    """Tell whether a JSON file is a list, as tasks are, and no COCO; DataError if unreadable."""
    with reading(path), path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def read_label_studio(path: Path) -> list[PhotoRecord]:
    """Read the boxes of each task: those of its last annotation, or of its prediction if none.

    A box that was turned becomes the upright one around it. A photo without a box has the size 0,
    0, because only boxes tell it; the scores are 1, and the stamps of 0 bytes.

    Raises:
        DataError: The file is not such an export; names the task, from 0.
    """
    try:
        with reading(path):
            tasks = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}") from error
    records = []
    for index, task in enumerate(tasks):
        where = f"task {index}"
        data = task.get("data") if isinstance(task, dict) else None
        photo = name_of(data, "photo") if isinstance(data, dict) else ""
        if not photo:
            raise DataError(
                path, f"{where} has no data.photo, the name that facekit writes; export as JSON"
            )
        # One that was skipped says nothing.
        done = [each for each in task.get("annotations", []) if not each.get("was_cancelled")]
        chosen = (done or task.get("predictions") or [{}])[-1]
        try:
            faces = _faces(path, where, chosen.get("result", []))
            records.append(PhotoRecord(photo, _UNKNOWN, faces))
        except (AttributeError, KeyError, TypeError, InputError) as error:
            raise DataError(path, f"{where}: not a result of Label Studio: {error!r}") from error
    return records


def _faces(path: Path, where: str, regions: list[dict[str, Any]]) -> Faces:
    boxes, names, size_wh = [], [], (0, 0)
    for region in regions:
        if region["type"] in _NO_AREAS:
            continue
        if region["type"] != "rectanglelabels":
            raise DataError(path, f"{where} has a region of {region['type']}: draw a box instead")
        value = region["value"]
        size_wh = region["original_width"], region["original_height"]
        sides = [value[key] for key in ("x", "y", "width", "height")]
        percent = numbers(path, [*sides, value.get("rotation", 0)], 5, f"a box of {where}")
        boxes.append(_box_xyxy(percent, size_wh))
        names.append(value["rectanglelabels"][0])
    classes = sorted(set(names))
    count, points = len(boxes), np.zeros((len(boxes), 0, 2), np.float32)
    return Faces(
        boxes_xyxy=np.array(boxes, np.float32).reshape(count, 4),
        scores=np.ones(count, np.float32),
        points_xy=points,
        point_scores=points[:, :, 0],
        size_wh=size_wh,
        labels=np.array([classes.index(name) for name in names], np.int32),
        class_names=tuple(classes),
    )


def _box_xyxy(percent: list[float], size_wh: tuple[int, int]) -> list[float]:
    """Return left, top, right, bottom in pixels of a box that is turned around its first corner."""
    width, height = size_wh
    x, y, wide, high = (
        part * side / 100 for part, side in zip(percent, (width, height) * 2, strict=False)
    )
    cos, sin = math.cos(math.radians(percent[4])), math.sin(math.radians(percent[4]))
    across = [0.0, wide * cos, wide * cos - high * sin, -high * sin]
    down = [0.0, wide * sin, wide * sin + high * cos, high * cos]
    return [x + min(across), y + min(down), x + max(across), y + max(down)]
