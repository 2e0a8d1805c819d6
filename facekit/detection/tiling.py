"""Tiles of a photo, and one list of what was found in them: faces too small for a single frame.

The detector looks at frames of 736x416 pixels, into which a picture is stretched. A tile is a part
of a photo that fills a frame of its own. Tiles overlap, so that a face at the edge of one is whole
in its neighbor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.detection.clustering import Float64Array, IntArray
from facekit.limits import MAX_BOXES

OVERLAP = 0.25
"""Part of a tile's side that its neighbor shows too: faces up to that size are whole in one."""

MIN_GAIN = 1.5
"""Least factor by which tiles show faces larger than before; below it ``auto`` is not worth it."""

VISIBLE_SIDE = 20.0
"""Least shorter side of a face in a frame, in its pixels: of smaller ones most are missed (card of
the open ``facenet``)."""

CLEAR_SIDE = 40.0
"""Shorter side in a frame, in its pixels, from which few faces are missed (the same card). Where
all faces that were found have it, smaller ones are not looked for."""

MAX_DISTORTION = 2.0
"""Ratio of a frame's two scales above which faces are so squeezed that all may be missed."""

MAX_SQUEEZE, MAX_STRETCH = 1.5, 3.5
"""Ratio of a frame's scale down to that across, and the reverse, above which only some faces are
found, even large ones: the network was trained on photos of 16:9 to 2:3, in a frame of 16:9."""

SURE_SCORE = 0.7
FURTHER_SCORE = 0.6
"""Every further frame brings its share of false faces, most of which score lower than the first.
Where no face of a photo has it, only those of the whole upright photo count; else those with the
second, since where there is one face there are others. Chosen on mosaics of photos with and without
faces, for the open ``facenet``."""

UPRIGHT_SCORE = 0.9
"""Least score of the best face of a photo that stands upright: 84 % of 220 evaluation photos of
people have one; of the same photos on their side 1 to 3 %, upside down 23 %."""

MAX_IOU = 0.4
MAX_INSIDE = 0.7
"""IoU, and part of the smaller box in the larger one, above which two boxes are of one face."""

_EDGE = 0.01
"""A box that ends within this part of a tile's side from its edge may be cut off there."""

_FRAME_WH = np.array([NETWORK_WIDTH, NETWORK_HEIGHT])


def whole(size_wh: tuple[int, int]) -> Float64Array:
    """Return the window of the whole photo: float64 (1, 4)."""
    return np.array([[0.0, 0.0, *size_wh]])


def _shrinks(windows_xyxy: npt.NDArray[np.float64]) -> Float64Array:
    """Return the pixels of a window (N, 4) for one of its frame: (N, 2), across and down."""
    shrinks: Float64Array = (windows_xyxy[:, 2:] - windows_xyxy[:, :2]) / _FRAME_WH
    return shrinks


def shrink(windows_xyxy: Float64Array) -> float:
    """Return the pixels of windows (N, 4) of one size for a pixel of the frame, the worse axis."""
    return float(_shrinks(windows_xyxy[:1]).max())


def plan_tiles(size_wh: tuple[int, int], most: int, below: float) -> Float64Array:
    """Return the tiles of a photo: the fewest of those grids that show its faces largest.

    They show no more than the photo's own pixels, except that those of a long and thin photo are
    made so short that frames distort little.

    Args:
        size_wh: Width and height of the photo in pixels.
        most: Tiles that there may be.
        below: The ``shrink`` that tiles have to stay below; there are none where none would.

    Returns:
        float64 (N, 4), x1 y1 x2 y2 of each tile in whole pixels of the photo, all of one size; row
        by row. N is 0 or from 2 to ``most``.
    """
    counts = np.arange(1, most + 1)
    # One tile takes the whole side; of n, each takes a side of which the others show 1 - OVERLAP.
    sides = np.ceil(np.array(size_wh)[:, None] / (1 + (counts - 1) * (1 - OVERLAP)))
    across, down = sides / _FRAME_WH[:, None]
    # A frame is wide: undistorted, a tile of a thin upright photo would be too low for its faces.
    # A wide photo little higher than a frame stays whole in height: two rows would halve its faces.
    one_row = down[0] <= MIN_GAIN and across[0] > MAX_SQUEEZE * down[0]
    finest = min(MAX_DISTORTION * across[0], down[0] if one_row else min(down[0], 1.0))
    shrinks = np.maximum(np.maximum(across[:, None], down[None, :]), finest)
    tiles = np.multiply.outer(counts, counts)
    shrinks[tiles > most] = np.inf
    best = shrinks.min()
    if best >= below:
        return np.empty((0, 4))
    fewest = np.where(shrinks <= best, tiles, most + 1).argmin()
    columns, rows = (int(count) + 1 for count in np.unravel_index(fewest, tiles.shape))
    width, height = sides[0, columns - 1], sides[1, rows - 1]
    left = np.round(np.linspace(0, size_wh[0] - width, columns))
    top = np.round(np.linspace(0, size_wh[1] - height, rows))
    y, x = (axis.ravel() for axis in np.meshgrid(top, left, indexing="ij"))
    return np.stack([x, y, x + width, y + height], axis=1)


def call_for_tiles(sides: Float64Array, windows_xyxy: Float64Array) -> bool:
    """Return whether smaller tiles are likely to show faces that have been missed.

    They are where a face was so small in its frame that others may have been too small, or where
    frames distort so much that some are missed; and where none was found in the whole photo, or in
    frames that distort.

    Args:
        sides: float64 (N,), ``shortest_sides`` of the faces that were found.
        windows_xyxy: float64 (T, 4), what was looked at.
    """
    across, down = _shrinks(windows_xyxy[:1])[0]
    if len(sides):
        distorted = across > MAX_SQUEEZE * down or down > MAX_STRETCH * across
        return bool(distorted or sides.min() < CLEAR_SIDE)
    return len(windows_xyxy) == 1 or max(across, down) > MAX_DISTORTION * min(across, down)


def shortest_sides(boxes_xyxy: npt.NDArray[np.float32], windows_xyxy: Float64Array) -> Float64Array:
    """Return the shorter side of boxes (N, 4) in the frames of their windows (N, 4), in pixels."""
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / _shrinks(windows_xyxy)
    shortest: Float64Array = sides.min(axis=1)
    return shortest


def cut_off(
    boxes_xyxy: npt.NDArray[np.float32], windows_xyxy: Float64Array, size_wh: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which boxes (N, 4) end where their windows (N, 4) do within the photo: bool (N,)."""
    margin = _EDGE * np.tile(windows_xyxy[:, 2:] - windows_xyxy[:, :2], 2)
    at_edge = np.abs(boxes_xyxy - windows_xyxy) < margin
    cut: npt.NDArray[np.bool_] = (at_edge & (windows_xyxy != whole(size_wh))).any(axis=1)
    return cut


def join(
    boxes_xyxy: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    windows_xyxy: Float64Array,
    size_wh: tuple[int, int],
) -> IntArray:
    """Choose one box a face of those found in a photo and in its tiles.

    A face that is clear in the whole photo is taken from there, so that tiles change nothing of it.
    A box at the edge of a tile, where a part of a face may be cut off, is taken only where there is
    no other of that face. Among the rest the better score decides.

    Args:
        boxes_xyxy: float32 (N, 4), pixels of the photo.
        scores: float32 (N,).
        windows_xyxy: float64 (N, 4), the tile, or the whole photo, in which each was found. Boxes
            of one window are of different faces.
        size_wh: Width and height of the photo in pixels.

    Returns:
        Indices of the boxes kept, by falling score.
    """
    in_whole = (windows_xyxy == whole(size_wh)).all(axis=1)
    clear = in_whole & (shortest_sides(boxes_xyxy, windows_xyxy) >= CLEAR_SIDE)
    order = np.lexsort((-scores, cut_off(boxes_xyxy, windows_xyxy, size_wh), ~clear))
    kept = one_a_face(boxes_xyxy, windows_xyxy, order)
    return kept[np.argsort(-scores[kept], kind="stable")]


def one_a_face(
    boxes_xyxy: npt.NDArray[np.float32], found_in: npt.NDArray[np.float64], order: IntArray
) -> IntArray:
    """Choose one box a face of those that were found in several ways.

    ``order`` are the indices of boxes float32 (N, 4), those first that are preferred. Boxes whose
    row of ``found_in`` (N, K) is the same are of different faces. Returns the indices kept, of
    which there are ``MAX_BOXES`` at most: a photo full of faces, in many tiles, takes long else.
    """
    _, frames = np.unique(found_in, axis=0, return_inverse=True)
    x1, y1, x2, y2 = boxes_xyxy.astype(np.float64).T
    rows = np.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1), frames.ravel(), np.arange(len(x1))])
    rest = rows[:, order]
    kept: list[int] = []
    while rest.shape[1] and len(kept) < MAX_BOXES:
        best, rest = rest[:, :1], rest[:, 1:]
        kept.append(int(best[6, 0]))
        across, down = np.minimum(best[2:4], rest[2:4]) - np.maximum(best[:2], rest[:2])
        shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
        same = shared > MAX_IOU * (best[4] + rest[4] - shared)
        same |= shared > MAX_INSIDE * np.minimum(best[4], rest[4])
        same &= best[5] != rest[5]
        if same.any():
            rest = rest[:, ~same]
    return np.array(kept, np.intp)
