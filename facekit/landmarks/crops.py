"""Square face crops for FPENet, and the mapping of crop pixels to photo pixels.

NVIDIA's own inference code cuts a square on the longer side of the box, centered on it
(tao_tensorflow1_backend, cv/fpenet/inferencer/fpenet_inferencer.py). At the photo's border that
code shrinks the square, which changes the scale and moves the center; here the border is padded
instead, by repeating the edge pixels, so that every face keeps its proportions.

Landmark ``p`` in pixels of a crop with left ``x`` and side ``s`` is at ``x + p * s / 80``, as in
NVIDIA's labels of its training crops.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.contract import CROP_SIDE
from facekit.errors import BoxError

FloatArray = npt.NDArray[np.float32]

MIN_CROP_SIDE = 2.0
"""Smallest side in photo pixels; smaller squares show no face."""

MAX_BOX_SPAN = 8
"""Longest side of a box over the photo's longest; a larger box shows no face."""

EXPAND = 1.0
"""Crop side over the box's longer side. FPENet was trained on the landmarks' own square
(bbox_enlarge_ratio 1.0 in NVIDIA's specification)."""

# Larger faces are first averaged over whole pixel blocks down to no less than this side, so that
# the exact antialiasing reads 4 pixels per crop pixel.
_REDUCED_SIDE = 4 * CROP_SIDE


def crop_squares(
    boxes_xyxy: npt.ArrayLike, *, size_wh: tuple[int, int], expand: float = EXPAND
) -> FloatArray:
    """Return a square around each box: with its longer side, centered, not clipped.

    Args:
        boxes_xyxy: (N, 4), pixels of the upright photo.
        size_wh: Width and height of the upright photo in pixels.
        expand: Square's side over the box's longer side.

    Returns:
        float32 (N, 3): left, top and side of each square in photo pixels.

    Raises:
        BoxError: See ``check_boxes``; or the boxes together cover too many pixels.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    check_boxes(boxes, size_wh=size_wh)
    side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1) * expand, MIN_CROP_SIDE)
    # Only pixels inside the photo cost time.
    covered = float(np.prod(np.minimum(side[:, None], size_wh), axis=1).sum())
    if covered > limits.MAX_CROP_PIXELS:
        raise BoxError(
            f"the {len(boxes):,} boxes cover {covered:,.0f} pixels; the limit of one photo is "
            f"{limits.MAX_CROP_PIXELS:,}"
        )
    corner = (boxes[:, :2] + boxes[:, 2:]) / 2 - side[:, None] / 2
    squares: FloatArray = np.concatenate([corner, side[:, None]], axis=1).astype(np.float32)
    return squares


def check_boxes(boxes_xyxy: npt.NDArray[Any], *, size_wh: tuple[int, int] | None = None) -> None:
    """Check that boxes are finite, have an area, and show a part of the photo.

    Args:
        boxes_xyxy: (N, 4), pixels of the upright photo.
        size_wh: Width and height of the upright photo in pixels; None if unknown.

    Raises:
        BoxError: Names the first box that is wrong.
    """
    for i, (x1, y1, x2, y2) in enumerate(boxes_xyxy.tolist()):
        where = f"box {i + 1} of {len(boxes_xyxy)} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        if not np.isfinite((x1, y1, x2, y2)).all():
            raise BoxError(f"{where} is not finite")
        if x2 <= x1 or y2 <= y1:
            raise BoxError(f"{where} is empty or inverted: x2 > x1 and y2 > y1 are needed")
        if size_wh is None:
            continue
        width, height = size_wh
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            raise BoxError(f"{where} lies outside the photo of {width} x {height} pixels")
        if max(x2 - x1, y2 - y1) > MAX_BOX_SPAN * max(size_wh):
            raise BoxError(
                f"{where} is more than {MAX_BOX_SPAN} times as large as the photo of "
                f"{width} x {height} pixels"
            )


def cut_crops(gray: npt.NDArray[np.uint8], squares_xys: FloatArray) -> FloatArray:
    """Cut squares out of a gray photo and resize each to FPENet's input, antialiased.

    Args:
        gray: uint8 (H, W), the upright photo.
        squares_xys: float32 (N, 3), left, top and side in photo pixels; may exceed the photo.

    Returns:
        float32 (N, 1, 80, 80), gray 0..255.
    """
    crops = np.empty((len(squares_xys), 1, CROP_SIDE, CROP_SIDE), np.float32)
    for i, (x, y, side) in enumerate(squares_xys.tolist()):
        block = max(int(side / _REDUCED_SIDE), 1)
        left, columns, beside = _span(x, side, block, gray.shape[1])
        top, rows, above = _span(y, side, block, gray.shape[0])
        if _is_run(rows) and _is_run(columns):
            patch = gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        else:
            patch = gray[np.ix_(rows, columns)]
        pixels = _block_means(patch, block) if block > 1 else patch.astype(np.float32)
        if any((*above, *beside)):
            pixels = np.pad(pixels, (above, beside), mode="edge")
        across = _weights((x - left) / block, side / block, pixels.shape[1])
        down = _weights((y - top) / block, side / block, pixels.shape[0])
        np.matmul(down @ pixels, across.T, out=crops[i, 0])
    return crops


def to_photo(points_xy: npt.ArrayLike, squares_xys: npt.ArrayLike) -> FloatArray:
    """Map crop pixels to photo pixels.

    Args:
        points_xy: (N, K, 2), pixels of the 80x80 crops.
        squares_xys: (N, 3), left, top and side of the crops in photo pixels.

    Returns:
        float32 (N, K, 2), pixels of the upright photo; not clipped.
    """
    points = np.asarray(points_xy, np.float32)
    squares = np.asarray(squares_xys, np.float32).reshape(-1, 1, 3)
    mapped: FloatArray = points * (squares[..., 2:] / np.float32(CROP_SIDE)) + squares[..., :2]
    return mapped


def _span(
    start: float, side: float, block: int, limit: int
) -> tuple[int, npt.NDArray[np.intp], tuple[int, int]]:
    """Return the pixels of the photo that one axis of a crop reads.

    Returns:
        The first pixel of the crop, which may be outside the photo; the pixels to read, those
        outside clamped to the border; and the numbers of blocks to pad before and behind.
    """
    # The triangular filter reaches one output pixel (or one input pixel) past the square's edge.
    reach = math.ceil(max(side / CROP_SIDE, 1.0)) + block
    first = math.floor(start) - reach
    count = math.ceil(start + side) + reach - first
    count += -count % block
    # Blocks wholly outside are equal: one on each side is read, and its mean repeated, so that the
    # cost of a crop is limited by the photo's pixels.
    before = max(-first // block - 1, 0)
    behind = max((first + count - limit) // block - 1, 0)
    inside = np.arange(first + before * block, first + count - behind * block)
    return first, np.clip(inside, 0, limit - 1), (before, behind)


def _block_means(patch: npt.NDArray[np.uint8], block: int) -> FloatArray:
    """Average whole blocks of pixels; rows first, because adding whole rows is fastest."""
    rows = patch[::block].astype(np.uint32)
    for k in range(1, block):
        rows += patch[k::block]
    sums = rows[:, ::block].copy()
    for k in range(1, block):
        sums += rows[:, k::block]
    return sums.astype(np.float32) / np.float32(block * block)


def _is_run(indices: npt.NDArray[np.intp]) -> bool:
    """Return whether indices are consecutive: none was clamped."""
    return bool(len(indices) == indices[-1] - indices[0] + 1)


def _weights(start: float, side: float, count: int) -> FloatArray:
    """Return the antialiased (triangular) resampling matrix, float32 (80, count).

    ``start`` is the square's edge in pixels of the patch, whose first pixel spans 0..1.
    """
    scale = side / CROP_SIDE
    centers = start + (np.arange(CROP_SIDE) + 0.5) * scale
    distance = np.abs(_pixel_centers(count)[None, :] - centers[:, None])
    weights = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    normalized: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalized


@lru_cache(maxsize=256)
def _pixel_centers(count: int) -> npt.NDArray[np.float64]:
    return np.arange(count) + 0.5
