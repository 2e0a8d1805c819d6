"""Read 300-W ``.pts`` landmark files."""

from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, reading
from facekit.landmarks.scheme import POINT_COUNTS, groups

POINT_COUNT = 68
FOREHEAD_SHARE = 0.25
"""The points end at the eyebrows: a face box is raised by this share of their height."""
ABSENT = (-1.0, -1.0)
"""Marks a point that is not annotated, as ``nan nan`` does."""

_MIRROR: tuple[int, ...] = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *range(27, 31),  # bridge of the nose
    *range(35, 30, -1),  # nostrils
    *(45, 44, 43, 42, 47, 46),  # right eye
    *(39, 38, 37, 36, 41, 40),  # left eye
    *range(54, 47, -1),  # outer lips
    *range(59, 54, -1),
    *range(64, 59, -1),  # inner lips
    *range(67, 64, -1),
    *(74, 73, 72, 75, 70, 69, 68, 71),  # pupils: three points across, one apart
    *(78, 79, 76, 77),  # ears
    *(91, 92, 93, *range(100, 93, -1), 101),  # further points of the right eye
    *(80, 81, 82, *range(89, 82, -1), 90),  # and of the left
    *(103, 102),
)


def mirror_order(point_count: int = POINT_COUNT) -> tuple[int, ...]:
    """Return which of 68, 80 or 104 points becomes point k when the photo is mirrored, for every k.

    The first 68 are iBUG's; the rest are FPENet's, whose pairs NVIDIA gives in the flip of its
    trainer (tao_tensorflow1_backend, cv/fpenet/dataloader). Raises ConfigError for another count.
    """
    groups(point_count)
    return _MIRROR[:point_count]


def read_pts(path: Path, count: int = POINT_COUNT, *, partial: bool = False) -> NDArray[np.float32]:
    """Read the points of one face.

    Args:
        path: A ``.pts`` file: ``version``, ``n_points``, then ``{``, one ``x y`` a line, ``}``.
        count: Number of points the file must hold.
        partial: Accept a face that is annotated in part: a point that stands as ``nan nan`` or
            ``-1 -1`` is absent, and so are the points that a smaller scheme (68 or 80) lacks.

    Returns:
        float32 [count, 2], x to the right and y down, in pixels of the photo; NaN for an absent
        point.

    Raises:
        DataError: The file is missing, malformed, holds another number of points, or none
            that is annotated.
    """
    with reading(path):
        text = path.read_text(encoding="ascii")
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise DataError(path, "has no list of points in braces")
    fields = text[start + 1 : end].split()
    counts = [number for number in POINT_COUNTS if partial and number < count] + [count]
    if len(fields) not in [2 * number for number in counts]:
        wanted = " or ".join(map(str, counts))
        raise DataError(path, f"holds {len(fields) / 2:g} points, expected {wanted}")
    points = np.full((count, 2), np.nan, dtype=np.float32)
    try:
        points[: len(fields) // 2] = np.reshape([float(field) for field in fields], (-1, 2))
    except ValueError as error:
        raise DataError(path, f"contains something that is not a number: {error}") from error
    absent = np.zeros(count, dtype=np.bool_)
    if partial:
        points[(points == ABSENT).all(axis=1)] = np.nan
        absent = np.isnan(points).all(axis=1)
        if absent.all():
            raise DataError(path, "contains no annotated point")
    if not np.isfinite(points[~absent]).all():
        raise DataError(path, "contains a point that is not finite")
    return points


def photo_stem(file: Path, photo_stems: Container[str]) -> str:
    """Return the stem of the photo that a ``.pts`` file is of.

    ``<photo>.pts`` is the photo's only face, ``<photo>_<k>.pts`` face k of it. As a photo's own
    name may end in a number, the whole stem is tried first among the stems of the photos.
    """
    return file.stem if file.stem in photo_stems else file.stem.rpartition("_")[0] or file.stem


def present(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which points are annotated: bool [..., n] for points float32 [..., n, 2]."""
    here: NDArray[np.bool_] = np.isfinite(points).all(axis=-1)
    return here


def face_box(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the face box of landmarks, float32 [4] (x1, y1, x2, y2), NaN without any point.

    It is the bounding box of the points float32 [n, 2], its top raised by a quarter. Absent points
    (NaN) do not count, nor do pupils, ears and further points, so that a face has the same box in
    every scheme.
    """
    points = points[:POINT_COUNT]
    points = points[present(points)]
    if not len(points):
        return np.full(4, np.nan, dtype=np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    top = low[1] - FOREHEAD_SHARE * (high[1] - low[1])
    return np.array([low[0], top, high[0], high[1]], dtype=np.float32)
