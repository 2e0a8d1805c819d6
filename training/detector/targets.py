"""Training targets of the detector's grid for known faces, by the kit's rule or TLT's.

Source of TLT's: ``bbox_from_rumpy_params`` and the description of ``BboxRasterizer`` in
tao_tensorflow1_backend; the rasterizer itself is not published there. Coverage is the share of a
cell's 4x4 samples that lie in a face's ellipse. Classes know nothing of each other. Within a class
faces are drawn by the lower edge of their boxes, so that of two that cover a cell alike the lower
one, which should be nearer, has it; else the one that covers more. The dead zone around a
face is background: coverage 0, trained like any other, also where it lies over a part of a cell
that another face covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekit.contract import GRID_STRIDE
from facekit.detection.grid import BOX_OFFSET, BOX_SCALE
from training.experiment.training import ClassRaster

DOUBTFUL = -1.0
"""Coverage weight of a cell that may hold a face nobody annotated."""
IGNORED_MARGIN = 8.0
"""Pixels around an ignored object in which coverage is not trained either."""
SAMPLES = 4
"""Samples of a cell in each direction, by TLT's rule."""
LEAST_RADIUS = 0.1
"""TLT's least radius in cells before ``bbox_min_radius``, against division by zero."""


@dataclass(frozen=True)
class CoverageRule:
    """Which cells a face of a class covers, and which lie around it: the kit's own rule.

    It goes with the quality focal loss. Each radius is lifted to the minimum by itself, every face
    is surrounded by the same factor (``ring``, in radii of the spec's ellipse), the cells around
    learn the box and no coverage, and a face weighs by the root of its number of cells.
    """

    raster: ClassRaster
    ring: float

    def radii(self, width: float, height: float) -> tuple[float, float]:
        """Return the radii of the covered ellipse of a box, all in pixels."""
        minimum = self.raster.bbox_min_radius * GRID_STRIDE
        radius_x = self.raster.cov_radius_x * 0.5 * width
        radius_y = self.raster.cov_radius_y * 0.5 * height
        return max(radius_x, minimum), max(radius_y, minimum)


def coverage_rules(rasters: Sequence[ClassRaster], deadzone: float) -> tuple[CoverageRule, ...]:
    """Return the kit's rule of each class, from a spec's numbers."""
    # The same interpolation towards the box as TLT's, but as a factor for faces of any size.
    shares = [(raster.cov_radius_x + raster.cov_radius_y) / 2 for raster in rasters]
    rings = [max(1.0, 1.0 - deadzone + deadzone / max(share, 1e-6)) for share in shares]
    return tuple(map(CoverageRule, rasters, rings))


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


def stack_targets(targets: Sequence[GridTargets]) -> dict[str, Tensor]:
    """Return the targets of a batch of frames by name, each with the frames as its first axis."""
    names = [field.name for field in fields(GridTargets)]
    return {n: torch.from_numpy(np.stack([getattr(t, n) for t in targets])) for n in names}


def cell_positions(count: int) -> NDArray[np.float32]:
    """Return the coordinate, in frame pixels, that each row or column of cells stands at."""
    places: NDArray[np.float32] = np.arange(count, dtype=np.float32) * GRID_STRIDE + BOX_OFFSET
    return places


def decode(bbox: Tensor) -> Tensor:
    """Turn the box head's output, float [n, 4 * C, h, w] in units of 35 pixels, into corners.

    They are float [n, C, 4, h, w]: x1, y1, x2, y2 in frame pixels. This is
    ``facekit.detection.grid.decode_cells`` for whole grids of tensors, which can be derived.
    """
    rows, columns = bbox.shape[-2:]
    y = torch.from_numpy(cell_positions(rows)).to(bbox.device)[:, None].expand(rows, columns)
    x = torch.from_numpy(cell_positions(columns)).to(bbox.device)[None, :].expand(rows, columns)
    center = torch.stack([x, y, x, y])
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=bbox.device)[:, None, None]
    return center + BOX_SCALE * sign * bbox.unflatten(1, (-1, 4))


def ignored_cells(ignored: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the cells, bool [h, w], of regions in frame pixels where coverage is not trained."""
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
    rules: Sequence[CoverageRule],
    classes: NDArray[np.int64] | None = None,
) -> GridTargets:
    """Rasterize the faces of a frame by the kit's rule.

    Where two faces cover a cell, the one relatively nearer owns it, and the cell is background to
    the other's class.

    Args:
        boxes: float32 [n, 4], faces in frame pixels.
        ignored: float32 [m, 4], regions where coverage is not trained.
        grid: Rows and columns of cells.
        rules: The rule of each class.
        classes: int64 [n], the class of each face; None: all of the first.
    """
    rows, columns = grid
    y, x = cell_positions(rows)[:, None], cell_positions(columns)[None, :]
    nearest = np.full(grid, np.inf, dtype=np.float32)
    owner = np.full(grid, -1, dtype=np.int64)
    weight = np.ones(grid, dtype=np.float32)
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
        # A face of another class counts as background, and no more than it does in its own class.
        other = owned & ~own & (weight != 0)
        coverage_weight[index][other] = share[owner[other]]
        covered[index][inside] = 1.0
        coverage_weight[index][own & ~inside] = 0.0
        assigned[index][:, own] = boxes[owner[own]].T
        coverage_weight[index][inside] = share[owner[inside]]
        box_weight[index][own] = np.where(inside[own], 1.0, 0.5) * share[owner[own]]
    return GridTargets(covered, assigned, box_weight, coverage_weight)


def radii(
    raster: ClassRaster, deadzone_radius: float, width: float, height: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the radii of a box's ellipses: the covered one, and the one around its dead zone.

    Box and radii (x and y of each) are in cells. The covered one is a share of the way from its
    middle to the box's nearest edge, and is grown without changing its form until the shorter
    radius has the minimum.
    """
    reach_x = width * min(raster.cov_center_x, 1 - raster.cov_center_x)
    reach_y = height * min(raster.cov_center_y, 1 - raster.cov_center_y)
    covered_x = max(raster.cov_radius_x * reach_x, LEAST_RADIUS)
    covered_y = max(raster.cov_radius_y * reach_y, LEAST_RADIUS)
    grow = max(1.0, raster.bbox_min_radius / min(covered_x, covered_y))
    covered_x, covered_y = covered_x * grow, covered_y * grow
    around_x = max(covered_x, covered_x + deadzone_radius * (reach_x - covered_x))
    around_y = max(covered_y, covered_y + deadzone_radius * (reach_y - covered_y))
    return (covered_x, covered_y), (around_x, around_y)


def _share_within(
    middle: tuple[float, float], radius: tuple[float, float], grid: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the share of each cell's samples that lie in an ellipse, float32 [h, w].

    Middle and radius are x and y in cells; cell k reaches from k to k + 1.
    """
    across, down = (
        ((np.arange(SAMPLES * count) + 0.5) / SAMPLES - at) / r
        for count, at, r in zip(grid[::-1], middle, radius, strict=True)
    )
    inside = down[:, None] ** 2 + across[None, :] ** 2 < 1.0
    samples = inside.reshape(grid[0], SAMPLES, grid[1], SAMPLES)
    share: NDArray[np.float32] = samples.mean(axis=(1, 3), dtype=np.float32)
    return share


def build_tlt_targets(
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    grid: tuple[int, int],
    classes: NDArray[np.int64],
    rasters: Sequence[ClassRaster],
    deadzone_radius: float,
) -> GridTargets:
    """Rasterize the faces of a frame by TLT's rule.

    ``boxes`` are float32 [n, 4] in frame pixels; ``ignored`` float32 [m, 4], which TLT does not
    have; ``classes`` int64 [n]. ``grid`` is rows and columns of cells. A cell's box weighs by its
    coverage over the area of the face's ellipse.
    """
    shape = (len(rasters), *grid)
    covered = np.zeros(shape, dtype=np.float32)
    assigned = np.zeros((shape[0], 4, *grid), dtype=np.float32)
    box_weight = np.zeros(shape, dtype=np.float32)
    for index in np.argsort(boxes[:, 3], kind="stable"):
        label = int(classes[index])
        raster = rasters[label]
        x1, y1, x2, y2 = (float(v) for v in boxes[index] / GRID_STRIDE)
        at = x1 + raster.cov_center_x * (x2 - x1), y1 + raster.cov_center_y * (y2 - y1)
        inner, outer = radii(raster, deadzone_radius, x2 - x1, y2 - y1)
        share, around = _share_within(at, inner, grid), _share_within(at, outer, grid)
        own = (share > 0) & (share >= covered[label])
        cleared = (share == 0) & (around > covered[label])
        covered[label] = np.where(own, share, np.where(cleared, 0.0, covered[label]))
        area = max(4 * inner[0] * inner[1], 1.0)
        box_weight[label] = np.where(own, share / area, np.where(cleared, 0.0, box_weight[label]))
        assigned[label][:, own] = boxes[index][:, None]
    weight = np.ones(shape, dtype=np.float32)
    weight[(covered == 0) & ignored_cells(ignored, grid)] = 0.0
    return GridTargets(covered, assigned, box_weight, weight)
