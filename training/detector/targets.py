"""What the detector's grid should say for a frame with known faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekit.contract import GRID_STRIDE
from facekit.detection.grid import BOX_OFFSET, BOX_SCALE

COVERAGE_SHARE = 0.27
"""Radii of the covered ellipse as a share of the box's width and height."""
MINIMUM_RADIUS = 11.5
"""Smallest radius in pixels: a face always covers a cell of the 16-pixel grid, often two."""
DOUBTFUL = -1.0
"""Coverage weight of a cell that may hold a face nobody annotated."""
RING = 1.35
"""Cells up to this many radii learn the box too, but no coverage."""


@dataclass(frozen=True)
class GridTargets:
    """Targets of one frame on a grid of h x w cells.

    Attributes:
        covered: float32 [h, w], 1 where a face covers the cell.
        boxes: float32 [4, h, w], the assigned face's x1, y1, x2, y2 in frame pixels.
        box_weight: float32 [h, w], weight of the cell in the box loss.
        coverage_weight: float32 [h, w], weight in the coverage loss; 0 where ignored, negative
            where the cell is background unless the network is sure of a face.
    """

    covered: NDArray[np.float32]
    boxes: NDArray[np.float32]
    box_weight: NDArray[np.float32]
    coverage_weight: NDArray[np.float32]


def cell_positions(count: int) -> NDArray[np.float32]:
    """Return the coordinate, in frame pixels, that each row or column of cells stands at."""
    places: NDArray[np.float32] = np.arange(count, dtype=np.float32) * GRID_STRIDE + BOX_OFFSET
    return places


def decode(bbox: Tensor) -> Tensor:
    """Turn the box head's output of one class into corners.

    ``facekit.detection.grid.decode_cells`` for whole grids of tensors, through which the losses
    can be derived.

    Args:
        bbox: float [n, 4, h, w], offsets in units of 35 pixels.

    Returns:
        float [n, 4, h, w]: x1, y1, x2, y2 in frame pixels.
    """
    rows, columns = bbox.shape[-2:]
    y = torch.from_numpy(cell_positions(rows)).to(bbox.device)[:, None].expand(rows, columns)
    x = torch.from_numpy(cell_positions(columns)).to(bbox.device)[None, :].expand(rows, columns)
    centre = torch.stack([x, y, x, y])
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=bbox.device)[:, None, None]
    return centre + BOX_SCALE * sign * bbox


def build_targets(
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    grid: tuple[int, int],
    complete: bool = True,
) -> GridTargets:
    """Rasterise the faces of a frame.

    Args:
        boxes: float32 [n, 4], faces in frame pixels.
        ignored: float32 [m, 4], regions where coverage is not trained.
        grid: Rows and columns of cells.
        complete: False where faces may be unannotated: then background away from the annotated
            faces is doubtful.

    Returns:
        The targets; where two faces cover a cell, the one relatively nearer owns it.
    """
    rows, columns = grid
    y, x = cell_positions(rows)[:, None], cell_positions(columns)[None, :]
    nearest = np.full(grid, np.inf, dtype=np.float32)
    owner = np.full(grid, -1, dtype=np.int64)
    weight = np.full(grid, 1.0 if complete else DOUBTFUL, dtype=np.float32)
    for x1, y1, x2, y2 in ignored:
        weight[((y >= y1 - 8) & (y <= y2 + 8)) & ((x >= x1 - 8) & (x <= x2 + 8))] = 0.0
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        radius_x = max(COVERAGE_SHARE * (x2 - x1), MINIMUM_RADIUS)
        radius_y = max(COVERAGE_SHARE * (y2 - y1), MINIMUM_RADIUS)
        dx, dy = (x - (x1 + x2) / 2) / radius_x, (y - (y1 + y2) / 2) / radius_y
        distance = np.sqrt(dx**2 + dy**2).astype(np.float32)
        closest = np.unravel_index(np.argmin(distance), grid)
        distance[closest] = min(float(distance[closest]), 0.5)
        if not complete:
            weight[distance < 2.2] = 1.0
        closer = (distance < nearest) & (distance <= RING)
        owner[closer], nearest[closer] = index, distance[closer]
    covered = nearest <= 1.0
    weight[(nearest > 1.0) & (nearest <= RING)] = 0.0
    weight[covered] = 1.0
    assigned = np.zeros((4, *grid), dtype=np.float32)
    box_weight = np.zeros(grid, dtype=np.float32)
    owned = owner >= 0
    if owned.any():
        assigned[:, owned] = boxes[owner[owned]].T
        counts = np.bincount(owner[covered], minlength=len(boxes)).clip(1)
        share = 1.0 / np.sqrt(counts)[owner[owned]]
        box_weight[owned] = np.where(nearest[owned] <= 1.0, share, 0.5 * share)
        weight[covered] = (1.0 / np.sqrt(counts)[owner[covered]]).astype(np.float32)
    return GridTargets(covered.astype(np.float32), assigned, box_weight, weight)
