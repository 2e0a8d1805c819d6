"""Where a face's eyes are, and how it is turned in the picture plane, told by its landmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.landmarks.crops import FloatArray
from facekit.landmarks.scheme import POINT_COUNTS, groups


def has_eyes(point_count: int) -> bool:
    """Whether a scheme of so many points is known, and so which of them are the eyes'."""
    return point_count in POINT_COUNTS


def rotations_deg(points_xy: FloatArray) -> FloatArray:
    """Return the angle of each face's eye line in degrees.

    Args:
        points_xy: float32 (N, K, 2), x right, y down.

    Returns:
        float32 (N,): 0 upright, positive clockwise as seen, NaN where both eyes lie at one place.

    Raises:
        ConfigError: There are faces, and their points are of no known landmark scheme.
    """
    right, left = _eyes(points_xy)
    across = left - right
    # atan2 and not the ratio: an eye line that stands upright has no finite slope, and a face that
    # lies upside down has the same one as an upright face.
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    return np.where(np.any(across != 0, axis=1), angles, np.nan).astype(np.float32)


def centers_xy(points_xy: FloatArray) -> FloatArray:
    """Return the point midway between the eyes of each face, float32 (N, 2).

    Args:
        points_xy: float32 (N, K, 2), x right, y down.

    Raises:
        ConfigError: There are faces, and their points are of no known landmark scheme.
    """
    right, left = _eyes(points_xy)
    return ((right + left) / 2).astype(np.float32)


def _eyes(points_xy: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centers of the subject's right and left eyes, float64 (N, 2) each.

    The mean of an eye's six points is steadier than one corner, and a closed or half-closed eye
    does not move it along the eye line.
    """
    if len(points_xy) == 0:
        return np.zeros((0, 2)), np.zeros((0, 2))
    spans = groups(points_xy.shape[1])
    right, left = spans["right_eye"], spans["left_eye"]
    return (
        points_xy[:, right.start : right.stop].mean(axis=1, dtype=np.float64),
        points_xy[:, left.start : left.stop].mean(axis=1, dtype=np.float64),
    )
