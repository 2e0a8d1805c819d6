"""Where a face goes in its chip: one affine map from pixels of the photo to pixels of the chip.

The eye line becomes level, the subject's right eye on the left. The point midway between the eyes
comes to the same place in every chip (:func:`eyes_center_xy`): half way across, and a quarter of
the way down the inner square, which is the chip less its margin on every side. The scale is the
largest at which all landmarks of the face, jaw and brows included, lie in the inner square. A scale
by the eyes' distance alone would blow up faces in profile, whose eyes are close together.

Pixels count from the corner of the first one, as everywhere in the kit: its center is at 0.5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.errors import InputError
from facekit.landmarks.scheme import POINT_COUNTS, groups

Affine = npt.NDArray[np.float64]
"""float64 (2, 3): ``affine[:, :2] @ (x, y) + affine[:, 2]``."""

MARGIN = 0.3
"""Of the inner square's side, on each of its four sides."""

EYES_DOWN = 0.25
"""How far down the inner square the eyes lie. Brows take less than that above the eyes of nearly
every face, and chins less than the rest below, so that the inner square's width decides."""

NEAREST_EYES = 0.05
"""Smallest distance of the eyes over the box's longer side. Nearer ones, half a pixel apart in a
face of ten, give a direction that is chance."""
_FARTHEST_EYES = 2.0
_FACE_POINTS = 68
"""The points of the face itself; pupils and ears behind them change nothing about its size."""


class DegenerateFaceError(InputError):
    """A face whose landmarks don't tell which way is up."""


def eyes_center_xy(size: int, margin: float = MARGIN) -> tuple[float, float]:
    """Return where the point midway between the eyes lies in every chip, in pixels.

    >>> eyes_center_xy(256, 0.3)
    (128.0, 88.0)
    """
    whole = 1 + 2 * margin
    return size / 2, size * (margin + EYES_DOWN) / whole


def chip_from_photo(
    points_xy: npt.ArrayLike, box_xyxy: npt.ArrayLike, size: int, margin: float = MARGIN
) -> Affine:
    """Return the map from pixels of the upright photo to pixels of the chip.

    It turns, scales evenly and shifts; nothing is stretched or mirrored.

    Args:
        points_xy: (K, 2), the face's landmarks in pixels of the photo; 68 points or a scheme that
            begins with them.
        box_xyxy: (4,), its box, which says how near eyes may be.
        size: The chip's side in pixels.
        margin: Around the landmarks, as a part of the side of the square that they fill.

    Raises:
        DegenerateFaceError: The points are of no known scheme or not finite, or the eyes lie at
            one place, too near to each other for the box, or too far.
    """
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    if len(points) not in POINT_COUNTS:
        raise DegenerateFaceError(f"{len(points)} points tell no eyes; 68, 80 or 104 do")
    points = points[:_FACE_POINTS]
    if not np.isfinite(points).all():
        raise DegenerateFaceError("landmarks that are missing or not finite")
    spans = groups(len(points))
    right, left = (
        points[spans[eye].start : spans[eye].stop].mean(axis=0) for eye in ("right_eye", "left_eye")
    )
    distance = float(np.hypot(*(left - right)))
    _check_distance(distance, np.asarray(box_xyxy, np.float64))
    cos, sin = (left - right) / distance
    turn = np.array([[cos, sin], [-sin, cos]])
    center = (left + right) / 2
    reach = (points - center) @ turn.T
    inner = size / (1 + 2 * margin)
    # The eyes themselves reach to both sides, so that at least this divisor is above 0.
    scale = inner / max(
        2 * float(np.abs(reach[:, 0]).max()),
        -float(reach[:, 1].min()) / EYES_DOWN,
        float(reach[:, 1].max()) / (1 - EYES_DOWN),
    )
    linear = scale * turn
    shift = np.array(eyes_center_xy(size, margin)) - linear @ center
    return np.column_stack([linear, shift])


def inverse(affine: Affine) -> Affine:
    """Return the map the other way round."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def _check_distance(distance: float, box: npt.NDArray[np.float64]) -> None:
    longer = max(box[2] - box[0], box[3] - box[1])
    if distance == 0:
        raise DegenerateFaceError("both eyes at one place")
    if not distance >= NEAREST_EYES * longer:
        raise DegenerateFaceError(
            f"eyes {distance:.2f} pixels apart in a box of {longer:.0f}: too near to tell which "
            "way is up"
        )
    if distance > _FARTHEST_EYES * longer:
        raise DegenerateFaceError(
            f"eyes {distance:.0f} pixels apart in a box of {longer:.0f}: not of this face"
        )
