"""A face's eyes and its rotation in the picture plane, from its landmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.landmarks.crops import FloatArray
from facekit.landmarks.scheme import POINT_COUNTS, groups


def has_eyes(point_count: int) -> bool:
    """Return whether the landmark scheme of so many points is known, and so the points of eyes."""
    return point_count in POINT_COUNTS


def rotations_deg(points_xy: FloatArray) -> FloatArray:
    """Return the angle of each face's eye line in degrees.

    Args:
        points_xy: float32 (N, K, 2), x right, y down.

    Returns:
        float32 (N,): 0 upright, positive clockwise as seen, NaN where both eyes coincide.

    Raises:
        ConfigError: There are faces, and their points are of no known landmark scheme.
    """
    right, left = _eyes(points_xy)
    across = left - right
    # The slope alone would be infinite for a vertical eye line, and the same for an upside-down
    # face as for an upright one.
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    return np.where(np.any(across != 0, axis=1), angles, np.nan).astype(np.float32)


def centers_xy(points_xy: FloatArray) -> FloatArray:
    """Return the midpoint between the eyes of each face, float32 (N, 2).

    Args:
        points_xy: float32 (N, K, 2), x right, y down.

    Raises:
        ConfigError: There are faces, and their points are of no known landmark scheme.
    """
    right, left = _eyes(points_xy)
    return ((right + left) / 2).astype(np.float32)


def _eyes(points_xy: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centers of the subject's right and left eyes, float64 (N, 2) each.

    The mean of an eye's six points is more stable than a corner, and a closing eye does not move it
    along the eye line.
    """
    if len(points_xy) == 0:
        return np.zeros((0, 2)), np.zeros((0, 2))
    spans = groups(points_xy.shape[1])
    right, left = spans["right_eye"], spans["left_eye"]
    return (
        points_xy[:, right.start : right.stop].mean(axis=1, dtype=np.float64),
        points_xy[:, left.start : left.stop].mean(axis=1, dtype=np.float64),
    )
