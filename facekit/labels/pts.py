"""Reader of 300-W ``.pts`` landmark files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError

POINT_COUNT = 68
FOREHEAD_SHARE = 0.25
"""The points end at the eyebrows: a face box is raised by this share of their height."""

LEFT_TO_RIGHT_MIRROR: tuple[int, ...] = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46),
    *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
)
"""Entry k names the point that becomes point k when the photo is mirrored."""


def read_pts(path: Path, count: int = POINT_COUNT) -> NDArray[np.float32]:
    """Read the points of one face.

    Args:
        path: A ``.pts`` file: ``version``, ``n_points``, then ``{``, one ``x y`` a line, ``}``.
        count: Number of points the file must hold.

    Returns:
        float32 [count, 2], x to the right and y down, in pixels of the photo.

    Raises:
        DataError: The file is missing, malformed, or holds another number of points.
    """
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise DataError(path, "has no list of points in braces")
    fields = text[start + 1 : end].split()
    if len(fields) != 2 * count:
        raise DataError(path, f"holds {len(fields) / 2:g} points, expected {count}")
    try:
        points = np.array([float(field) for field in fields], dtype=np.float32).reshape(count, 2)
    except ValueError as error:
        raise DataError(path, f"holds something that is not a number: {error}") from error
    if not np.isfinite(points).all():
        raise DataError(path, "holds a point that is not finite")
    return points


def face_box(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the face box of landmarks: their bounding box, its top raised by a quarter.

    Args:
        points: float32 [n, 2] in pixels.

    Returns:
        float32 [4]: x1, y1, x2, y2 in pixels.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    top = low[1] - FOREHEAD_SHARE * (high[1] - low[1])
    return np.array([low[0], top, high[0], high[1]], dtype=np.float32)
