"""Labels of the pixels as a photo stores them, turned upright as its EXIF orientation says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, PhotoError
from facekit.labels.photo_labels import PhotoLabels
from facekit.photos.header import read_photo_header

Size = tuple[int, int]


def upright_size(size_wh: Size, orientation: int) -> Size:
    """Return width and height of a photo once it is turned upright.

    Args:
        size_wh: As stored, in pixels.
        orientation: EXIF orientation 1..8.
    """
    return size_wh[::-1] if orientation >= 5 else size_wh


def upright_points(
    points_xy: NDArray[np.float32], size_wh: Size, orientation: int
) -> NDArray[np.float32]:
    """Turn points of the stored pixels upright, as ``facekit.photos`` turns the pixels.

    Args:
        points_xy: float32 [..., 2] in pixels of the photo as stored, from the outer corner of its
            first pixel; NaN stays NaN.
        size_wh: Width and height as stored.
        orientation: EXIF orientation 1..8.

    Returns:
        float32 [..., 2] in pixels of the upright photo.
    """
    x, y = points_xy[..., 0], points_xy[..., 1]
    right, below = size_wh[0] - x, size_wh[1] - y
    turned = {
        1: (x, y), 2: (right, y), 3: (right, below), 4: (x, below),
        5: (y, x), 6: (below, x), 7: (below, right), 8: (y, right),
    }[orientation]  # fmt: skip
    return np.stack(turned, axis=-1, dtype=np.float32)


def upright_boxes(
    boxes_xyxy: NDArray[np.float32], size_wh: Size, orientation: int
) -> NDArray[np.float32]:
    """Turn boxes of the stored pixels upright.

    Args:
        boxes_xyxy: float32 [n, 4]: x1, y1, x2, y2 in pixels of the photo as stored.
        size_wh: Width and height as stored.
        orientation: EXIF orientation 1..8.

    Returns:
        float32 [n, 4] in pixels of the upright photo, again with x1 <= x2 and y1 <= y2.
    """
    corners = upright_points(boxes_xyxy.reshape(-1, 2, 2), size_wh, orientation)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def labeled_upright(labels_wh: Size | None, stored_wh: Size, orientation: int) -> bool:
    """Tell whether labels are of the upright photo already.

    They are if the size that they state is that of the upright photo and not of the stored one.
    Otherwise they are of the stored pixels, which tools that made the public sets look at.

    Args:
        labels_wh: The size that the labels state, if any.
        stored_wh: The photo's size as stored.
        orientation: EXIF orientation 1..8.
    """
    return labels_wh not in (None, stored_wh) and labels_wh == upright_size(stored_wh, orientation)


def upright_labels(labels: PhotoLabels, stored_wh: Size, orientation: int) -> PhotoLabels:
    """Return labels in pixels of the upright photo, which is what a server sees.

    Args:
        labels: As a reader returns them.
        stored_wh: The photo's size as stored.
        orientation: EXIF orientation 1..8.

    Returns:
        The same labels where there is nothing to turn, or where they state a size that the photo
        has in no orientation; ``size_wh`` is turned too where it is stated.
    """
    if orientation == 1 or labeled_upright(labels.size_wh, stored_wh, orientation):
        return labels
    if labels.size_wh not in (None, stored_wh):
        return labels
    return replace(
        labels,
        size_wh=None if labels.size_wh is None else upright_size(stored_wh, orientation),
        boxes_xyxy=upright_boxes(labels.boxes_xyxy, stored_wh, orientation),
        points_xy=tuple(
            None if points is None else upright_points(points, stored_wh, orientation)
            for points in labels.points_xy
        ),
    )


def stored_view(photo: Path) -> tuple[Size, int]:
    """Return a photo's size as stored, and the EXIF orientation that turns it upright.

    Only the header is read.

    Raises:
        DataError: The photo is missing or can't be read, or it is none of the accepted kinds.
    """
    try:
        with photo.open("rb") as stream:
            header = read_photo_header(stream)
    except FileNotFoundError:
        raise DataError(photo, "no such file") from None
    except OSError as error:
        raise DataError(photo, f"cannot be read: {error.strerror or error}") from error
    except (PhotoError, ValueError) as error:
        raise DataError(photo, f"cannot be decoded: {error}") from error
    return header.stored_wh, header.orientation
