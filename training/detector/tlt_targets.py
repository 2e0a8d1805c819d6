"""What the grid should say for a frame with known faces, as TLT's rasterizer puts it.

Source: ``bbox_from_rumpy_params`` and the description of ``BboxRasterizer`` in
tao_tensorflow1_backend; the rasterizer itself is not published there. Coverage is the share of a
cell's 4x4 samples that lie in a face's ellipse. Classes know nothing of each other. Within a class
faces are drawn by the lower edge of their boxes, so that of two that cover a cell alike the lower
one, which should be nearer, has it; else the one that covers more. The dead zone around a
face is background: coverage 0, trained like any other, also where it lies over a part of a cell
that another face covers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facekit.contract import GRID_STRIDE
from training.detector.targets import GridTargets, ignored_cells
from training.experiment.settings import ClassRaster, Rasterizer

SAMPLES = 4
"""Samples of a cell in each direction."""
LEAST_RADIUS = 0.1
"""Least radius in cells before ``bbox_min_radius``, against division by zero."""


def radii(
    raster: ClassRaster, deadzone_radius: float, width: float, height: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the radii of a box's ellipses: the covered one, and the one around its dead zone.

    The covered one is a share of the way from its middle to the box's nearest edge, and is grown
    without changing its form until the shorter radius has the minimum.

    Args:
        raster: The class's.
        deadzone_radius: The spec's.
        width: Of the box, in cells.
        height: Likewise.

    Returns:
        x and y of each, in cells.
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

    Args:
        middle: x and y in cells; cell k reaches from k to k + 1.
        radius: Likewise.
        grid: Rows and columns of cells.
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
    rasterizer: Rasterizer,
) -> GridTargets:
    """Rasterize the faces of a frame.

    Args:
        boxes: float32 [n, 4], faces in frame pixels.
        ignored: float32 [m, 4], regions where coverage is not trained. Not TLT's.
        grid: Rows and columns of cells.
        classes: int64 [n], the class of each face.
        rasterizer: The spec's.

    Returns:
        The targets; a cell's box weighs by its coverage over the area of the face's ellipse.
    """
    shape = (len(rasterizer.classes), *grid)
    covered = np.zeros(shape, dtype=np.float32)
    assigned = np.zeros((shape[0], 4, *grid), dtype=np.float32)
    box_weight = np.zeros(shape, dtype=np.float32)
    for index in np.argsort(boxes[:, 3], kind="stable"):
        label = int(classes[index])
        raster = rasterizer.classes[label]
        x1, y1, x2, y2 = (float(v) for v in boxes[index] / GRID_STRIDE)
        at = x1 + raster.cov_center_x * (x2 - x1), y1 + raster.cov_center_y * (y2 - y1)
        inner, outer = radii(raster, rasterizer.deadzone_radius, x2 - x1, y2 - y1)
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
