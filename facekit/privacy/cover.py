"""Make faces unrecognizable: cover an ellipse around each box, in NumPy.

What is left of a face is at most one color for each block of a fifth of its longer side, an
average of which nothing finer is known. Neither ``pixelate`` nor ``blur`` holds more, so no
sharpening can bring it back.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from facekit.errors import ConfigError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

METHODS = ("pixelate", "blur", "box", "mean")
"""The ways to cover a face."""
MARGIN = 0.3
"""On each side of a box, as a part of it: on 428 calibration photos nine tenths of the labeled
face or more are covered in 97.7 to 99.6 % of those that were found (90.6 to 98.5 % with 0.2)."""
MAX_MARGIN = 5.0
BLOCKS = 5
"""Blocks along the longer side of a face. Pixels can be smoothed, so what counts is what dlib's
network still knows of ``blur``: of 35 training portraits 14 % with 6 blocks, 6 % with 5 and with 4,
while it takes 2 % of strangers for one person; of 12 others 42 % with 8."""
LEAST_BLOCK_PX = 4
"""Side of a block of the smallest faces."""


def cover_faces(
    pixels: Pixels,
    boxes_xyxy: npt.ArrayLike,
    how: str = "pixelate",
    margin: float = MARGIN,
    *,
    black: npt.ArrayLike = 0,
) -> None:
    """Cover faces in a picture, which is changed; pixels outside the ellipses stay.

    Boxes are covered one after another, so that where two overlap the second covers what the first
    has left.

    Args:
        pixels: uint8 or uint16 (H, W, C), the upright picture; all channels are covered alike.
        boxes_xyxy: (N, 4), left, top, right, bottom in its pixels; parts outside it do not matter.
        how: ``pixelate`` (a color a block), ``blur`` (the same, smoothly joined), ``mean`` (one
            color) or ``box`` (black).
        margin: Added to each side of a box, as a part of its width and height.
        black: What ``box`` is filled with, a value or one a channel.

    Raises:
        ConfigError: ``how`` or ``margin`` is wrong.
    """
    check_cover(how, margin)
    for left, top, right, bottom in np.asarray(boxes_xyxy, np.float64).reshape(-1, 4).tolist():
        center_xy = (left + right) / 2, (top + bottom) / 2
        axes_xy = (0.5 + margin) * (right - left), (0.5 + margin) * (bottom - top)
        part = tuple(
            slice(max(0, math.floor(c - a)), max(0, min(side, math.ceil(c + a))))
            for c, a, side in zip(center_xy, axes_xy, pixels.shape[1::-1], strict=True)
        )
        region = pixels[part[::-1]]
        inside = _in_ellipse(part, center_xy, axes_xy)
        if not inside.any():
            continue
        if how == "box":
            region[inside] = black
        elif how == "mean":
            region[inside] = np.rint(region[inside].mean(axis=0, dtype=np.float64))
        else:
            block = max(LEAST_BLOCK_PX, math.ceil(max(right - left, bottom - top) / BLOCKS))
            covered = (_pixelated if how == "pixelate" else _blurred)(*_averages(region, block))
            np.copyto(region, np.rint(covered).astype(pixels.dtype), where=inside[..., None])


def check_cover(how: str, margin: float) -> None:
    """Raise ConfigError unless these are arguments of :func:`cover_faces`."""
    if how not in METHODS:
        raise ConfigError(f"how: expected one of {', '.join(METHODS)}, got {how!r}")
    if not 0 <= margin <= MAX_MARGIN:
        raise ConfigError(f"margin: expected 0 to {MAX_MARGIN:g}, got {margin}")


def _in_ellipse(
    part: tuple[slice, ...], center_xy: tuple[float, float], axes_xy: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """Return which pixels of a part of a picture an ellipse touches: bool (h, w)."""
    x, y = (
        # The nearest point of each column or row of pixels, in semi-axes.
        np.maximum(np.abs(np.arange(s.start, s.stop) + 0.5 - c) - 0.5, 0.0) / max(a, 0.5)
        for s, c, a in zip(part, center_xy, axes_xy, strict=True)
    )
    inside: npt.NDArray[np.bool_] = y[:, None] ** 2 + x**2 <= 1.0
    return inside


def _edges(length: int, block: int) -> IntArray:
    """Return where the blocks begin and end along one side, none shorter than ``block``."""
    return np.linspace(0, length, max(1, length // block) + 1).round().astype(np.intp)


def _averages(region: Pixels, block: int) -> tuple[FloatArray, list[IntArray]]:
    """Return the mean of each block, (rows, columns, C), and the blocks' edges down and across."""
    edges = [_edges(length, block) for length in region.shape[:2]]
    sums = np.add.reduceat(region, edges[0][:-1], axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, edges[1][:-1], axis=1)
    return sums / np.multiply.outer(*map(np.diff, edges))[..., None], edges


def _pixelated(means: FloatArray, edges: list[IntArray]) -> FloatArray:
    down, across = map(np.diff, edges)
    return means.repeat(down, axis=0).repeat(across, axis=1)


def _blurred(means: FloatArray, edges: list[IntArray]) -> FloatArray:
    low: FloatArray
    high: FloatArray
    for axis, ends in enumerate(edges):
        # Where each pixel lies between the centers of the blocks.
        centers = (ends[:-1] + ends[1:]) / 2
        place: FloatArray = np.interp(np.arange(ends[-1]) + 0.5, centers, np.arange(len(centers)))
        before: IntArray = place.astype(np.intp)
        after = np.minimum(before + 1, len(centers) - 1)
        weight: FloatArray = (place - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low, high = means.take(before, axis), means.take(after, axis)
        means = low + (high - low) * weight
    return means
