"""The video frames of turned faces, whose labels are brought to 300-W's convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError
from facekit.labels.listing import split_of
from facekit.labels.pts import POINT_COUNT, face_box
from training.facesets import Photo, pts_photos

FRAME_FOLDER = "landmarks-youtube"
"""``<person>_<number>.jpg`` with 68 points, heads turned by up to 60 degrees; looser than 300-W."""
FRAME_WEIGHT = 0.2
"""How often such a face is shown, against one of 300-W."""
_X = (
    *(12, 12, 5, 3, 4, 7, 22, 24, -13, -48, -48, -28, -23, -20, -19, -25, -26),
    *(-4, -5, 2, 19, 36, -51, -29, -14, -6, -8),
    *(-9, -7, -9, -11, -21, -12, -10, -7, 3),
    *(-2, 2, 3, 2, -4, -3, -14, -16, -17, -15, -13, -11),
    *(-9, -6, -14, -9, -4, -8, -2, -3, -17, -10, -2, -11, 2, -5, -9, -13, -13, -12, -10, -5),
)
_Y = (
    *(1, -2, 7, 14, 6, 1, 9, -1, -25, 1, 11, 1, 3, 12, 2, -6, -4),
    *(25, 12, 4, 5, 14, 13, 1, -3, 2, 18),
    *(-22, -26, -29, -21, -11, -8, -6, -8, -11),
    *(5, -5, -5, 5, 0, 2, 3, -9, -8, -1, -3, -3),
    *(-7, -7, -6, -2, -5, -9, -11, -1, -2, -2, -2, -1, -4, -6, -2, -7, -8, -4, -3, -5),
)
SHIFT = np.array([_X, _Y], dtype=np.float32).T / 1000
"""What is added to the labels, float32 [68, 2], in longer sides of the face box.

The median of the points that a network of 300-W alone finds (the served one until now) less the
labels, over the 1,289 frames for training with the tip of the nose in the middle half between the
ends of the jaw.
"""


def frames(
    data: Path, point_count: int, evaluation: bool, report: Callable[[DataError], None]
) -> Iterator[Photo]:
    """Yield the frames of the people for training, or of the seventh for ``evaluation``.

    See ``pts_photos``; what is wrong with a frame is reported, and the frame left out.
    """
    for photo in pts_photos(data / FRAME_FOLDER, False, point_count, report):
        person = photo.name.rpartition("_")[0]
        if (split_of(person) == "evaluation") == evaluation:
            yield replace(photo, points=tuple(_moved(points) for points in photo.points))


def _moved(points: NDArray[np.float32]) -> NDArray[np.float32]:
    box = face_box(points)
    moved = points.copy()
    moved[:POINT_COUNT] += SHIFT * (box[2:] - box[:2]).max()
    return moved
