"""Decode DetectNet_v2's grids into boxes in network pixels.

Each cell of a 26x46 grid (stride 16 over 416x736) has, per class, a coverage and four offsets of
the box's left, top, right and bottom from the cell, divided by 35. The rule and its constants are
those of DeepStream's parser and of TAO (tao_deploy, cv/detectnet_v2/postprocessor.py,
``abs_bbox_converter``); the card's "xc, yc, w, h" is wrong for this export.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from facekit.contract import GRID_STRIDE

BOX_SCALE = 35.0
"""Pixels per unit of the box output (``bbox_normalizer`` in TAO)."""
BOX_OFFSET = 0.5
"""Pixels from a cell's corner to the origin of its offsets (``bbox_offset`` in TAO)."""

# Sign of each channel's offset: left and top are subtracted from the origin, the others added.
_SIGNS = np.array([[-BOX_SCALE], [-BOX_SCALE], [BOX_SCALE], [BOX_SCALE]])


def decode_cells(
    bbox: npt.NDArray[np.float32], cells: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Decode the boxes of some cells of one class.

    ``bbox`` is float32 (4, rows, columns), ``cells`` (N,) are row-major indices. The result is
    float64 (N, 4), x1 y1 x2 y2 in network pixels; not clipped, and possibly inverted.
    """
    _, rows, columns = bbox.shape
    offsets = bbox.reshape(4, -1).take(cells, axis=1)
    corners: npt.NDArray[np.float64]
    corners = _points(rows, columns).take(cells, axis=1) + offsets * _SIGNS
    return corners.T


@lru_cache(maxsize=8)
def _points(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return the origin of each cell's offsets as x, y, x, y: float64 (4, cells)."""
    y, x = np.mgrid[:rows, :columns].reshape(2, -1) * GRID_STRIDE + BOX_OFFSET
    return np.stack([x, y, x, y])


def encode_boxes(
    boxes_xyxy: npt.NDArray[Any], cells: npt.NDArray[np.intp], columns: int
) -> npt.NDArray[np.float32]:
    """Encode boxes as offsets of cells, float32 (4, N): the inverse of ``decode_cells``.

    Boxes are (N, 4) in network pixels, ``cells`` row-major indices; a grid row has ``columns``.
    """
    points = _points(int(cells.max(initial=0)) // columns + 1, columns).take(cells, axis=1)
    offsets: npt.NDArray[np.float32]
    offsets = ((np.asarray(boxes_xyxy, np.float64).T - points) / _SIGNS).astype(np.float32)
    return offsets
