"""What the detector's grid should say for a frame with known faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekit.contract import GRID_STRIDE
from facekit.detection.grid import BOX_OFFSET, BOX_SCALE
from training.experiment.settings import ClassRaster, Rasterizer

DOUBTFUL = -1.0
"""Coverage weight of a cell that may hold a face nobody annotated."""
IGNORED_MARGIN = 8.0
"""Pixels around an ignored object in which coverage is not trained either."""


@dataclass(frozen=True)
class CoverageRule:
    """Which cells a face of a class covers, and which lie around it: the kit's own rule.

    It goes with the quality focal loss; that of TLT is ``tlt_targets``. Each radius is lifted to
    the minimum by itself, every face is surrounded by the same factor, the cells around learn the
    box and no coverage, and a face weighs by the root of its number of cells.

    Attributes:
        raster: Middle and radii of the covered ellipse, as the spec has them.
        ring: Up to how many radii the cells around a face reach.
    """

    raster: ClassRaster
    ring: float

    def radii(self, width: float, height: float) -> tuple[float, float]:
        """Return the radii of the covered ellipse of a box, all in pixels."""
        minimum = self.raster.bbox_min_radius * GRID_STRIDE
        radius_x = self.raster.cov_radius_x * 0.5 * width
        radius_y = self.raster.cov_radius_y * 0.5 * height
        return max(radius_x, minimum), max(radius_y, minimum)


FACE_RULE = CoverageRule(
    ClassRaster(cov_radius_x=0.54, cov_radius_y=0.54, bbox_min_radius=11.5 / 16), ring=1.35
)
"""The face recipe's: a face always covers a cell of the 16-pixel grid, often two."""


def coverage_rules(rasterizer: Rasterizer) -> tuple[CoverageRule, ...]:
    """Return the kit's rule of each class, from a spec's numbers."""
    deadzone = rasterizer.deadzone_radius
    rules = []
    for raster in rasterizer.classes:
        share = (raster.cov_radius_x + raster.cov_radius_y) / 2
        # The same interpolation towards the box as TLT's, but as a factor for faces of any size.
        ring = max(1.0, 1.0 - deadzone + deadzone / max(share, 1e-6))
        rules.append(CoverageRule(raster, ring))
    return tuple(rules)


@dataclass(frozen=True)
class GridTargets:
    """Targets of one frame on a grid of h x w cells, for C classes.

    Attributes:
        covered: float32 [C, h, w], the share of the cell that a face of the class covers; by the
            kit's rule 0 or 1.
        boxes: float32 [C, 4, h, w], the assigned face's x1, y1, x2, y2 in frame pixels.
        box_weight: float32 [C, h, w], weight of the cell in the box loss.
        coverage_weight: float32 [C, h, w], weight in the coverage loss; 0 where ignored, negative
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
    """Turn the box head's output into corners.

    ``facekit.detection.grid.decode_cells`` for whole grids of tensors, through which the losses
    can be derived.

    Args:
        bbox: float [n, 4 * C, h, w], offsets in units of 35 pixels.

    Returns:
        float [n, C, 4, h, w]: x1, y1, x2, y2 in frame pixels.
    """
    rows, columns = bbox.shape[-2:]
    y = torch.from_numpy(cell_positions(rows)).to(bbox.device)[:, None].expand(rows, columns)
    x = torch.from_numpy(cell_positions(columns)).to(bbox.device)[None, :].expand(rows, columns)
    center = torch.stack([x, y, x, y])
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=bbox.device)[:, None, None]
    return center + BOX_SCALE * sign * bbox.unflatten(1, (-1, 4))


def ignored_cells(ignored: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the cells, bool [h, w], in which coverage is not trained.

    Args:
        ignored: float32 [m, 4], regions in frame pixels.
        grid: Rows and columns of cells.
    """
    y, x = cell_positions(grid[0])[:, None], cell_positions(grid[1])[None, :]
    found = np.zeros(grid, dtype=np.bool_)
    for x1, y1, x2, y2 in ignored:
        rows_near = (y >= y1 - IGNORED_MARGIN) & (y <= y2 + IGNORED_MARGIN)
        found |= rows_near & (x >= x1 - IGNORED_MARGIN) & (x <= x2 + IGNORED_MARGIN)
    return found


def build_targets(
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    grid: tuple[int, int],
    complete: bool = True,
    classes: NDArray[np.int64] | None = None,
    rules: Sequence[CoverageRule] = (FACE_RULE,),
) -> GridTargets:
    """Rasterize the faces of a frame by the kit's rule.

    Args:
        boxes: float32 [n, 4], faces in frame pixels.
        ignored: float32 [m, 4], regions where coverage is not trained.
        grid: Rows and columns of cells.
        complete: False where faces may be unannotated: then background away from the annotated
            faces is doubtful.
        classes: int64 [n], the class of each face; None: all of the first.
        rules: The rule of each class.

    Returns:
        The targets; where two faces cover a cell, the one relatively nearer owns it, and the cell
        is background to the other's class.
    """
    rows, columns = grid
    y, x = cell_positions(rows)[:, None], cell_positions(columns)[None, :]
    nearest = np.full(grid, np.inf, dtype=np.float32)
    owner = np.full(grid, -1, dtype=np.int64)
    weight = np.full(grid, 1.0 if complete else DOUBTFUL, dtype=np.float32)
    weight[ignored_cells(ignored, grid)] = 0.0
    if classes is None:
        classes = np.zeros(len(boxes), dtype=np.int64)
    for index, (x1, y1, x2, y2) in enumerate(boxes):
        rule = rules[classes[index]]
        at_x, at_y = rule.raster.cov_center_x, rule.raster.cov_center_y
        dx = x - ((1 - at_x) * x1 + at_x * x2)
        dy = y - ((1 - at_y) * y1 + at_y * y2)
        radius_x, radius_y = rule.radii(x2 - x1, y2 - y1)
        distance = np.sqrt((dx / radius_x) ** 2 + (dy / radius_y) ** 2).astype(np.float32)
        closest = np.unravel_index(np.argmin(distance), grid)
        distance[closest] = min(float(distance[closest]), 0.5)
        if not complete:
            weight[distance < 2.2] = 1.0
        closer = (distance < nearest) & (distance <= rule.ring)
        owner[closer], nearest[closer] = index, distance[closer]
    return _by_class(boxes, classes, owner, nearest, weight, len(rules))


def _by_class(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int64],
    owner: NDArray[np.int64],
    nearest: NDArray[np.float32],
    weight: NDArray[np.float32],
    class_count: int,
) -> GridTargets:
    """Lay the cells that each face owns into the channels of its class."""
    shape = (class_count, *owner.shape)
    covered = np.zeros(shape, dtype=np.float32)
    assigned = np.zeros((class_count, 4, *owner.shape), dtype=np.float32)
    box_weight = np.zeros(shape, dtype=np.float32)
    coverage_weight = np.broadcast_to(weight, shape).copy()
    counts = np.bincount(owner[nearest <= 1.0], minlength=len(boxes)).clip(1)
    share = (1.0 / np.sqrt(counts)).astype(np.float32)
    owned = owner >= 0
    for index in range(class_count):
        own = owned & (classes[owner] == index) if len(boxes) else owned
        inside = own & (nearest <= 1.0)
        # A face of another class is background even where other faces may be unannotated, and
        # counts no more than it does in its own class.
        other = owned & ~own & (weight != 0)
        coverage_weight[index][other] = share[owner[other]]
        covered[index][inside] = 1.0
        coverage_weight[index][own & ~inside] = 0.0
        assigned[index][:, own] = boxes[owner[own]].T
        coverage_weight[index][inside] = share[owner[inside]]
        box_weight[index][own] = np.where(inside[own], 1.0, 0.5) * share[owner[own]]
    return GridTargets(covered, assigned, box_weight, coverage_weight)
