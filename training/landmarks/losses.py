"""Losses of the landmark network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from training.landmarks.network import CELL, map_places

WING_WIDTH = 4.0
WING_CURVATURE = 0.8
MAP_SIGMA = 2.0
MAP_WEIGHT = 0.15


def _wing(error: Tensor) -> Tensor:
    """Logarithmic up to 4 pixels, so that small errors count, linear beyond."""
    offset = WING_WIDTH - WING_WIDTH * math.log(1 + WING_WIDTH / WING_CURVATURE)
    near = WING_WIDTH * torch.log1p(error / WING_CURVATURE)
    return torch.where(error < WING_WIDTH, near, error - offset)


def _l1(error: Tensor) -> Tensor:
    return error


def _l2(error: Tensor) -> Tensor:
    """Squared, and as steep as L1 at 4 pixels, so that one learning rate fits all."""
    return error.square() / (2 * WING_WIDTH)


POINT_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"wing": _wing, "l1": _l1, "l2": _l2}
"""By name: what an absolute error in crop pixels costs, along x or y."""


def point_loss(predicted: Tensor, true: Tensor, name: str = "wing") -> Tensor:
    """Return the mean ``wing``, ``l1`` or ``l2`` over the annotated coordinates, 0 without any.

    Both are float32 [n, points, 2], x and y in crop pixels; NaN where not annotated.
    """
    here = torch.isfinite(true)
    # Absent points are set to the prediction before the difference: NaN times 0 is NaN, also in
    # the gradient.
    error = (predicted - torch.where(here, true, predicted.detach())).abs()
    return (POINT_LOSSES[name](error) * here).sum() / here.sum().clamp(min=1)


def map_loss(logs: Tensor, points: Tensor) -> Tensor:
    """Return the cross entropy of the softmax maps against a blob at each true point.

    It is the mean over the points that are annotated and lie on the maps, whose logarithms are
    float32 [n, points, 24, 24]; points [n, points, 2] as in ``point_loss``.
    """
    places = map_places().to(logs.device)
    low, high = places[0] - CELL / 2, places[-1] + CELL / 2
    inside = ((points >= low) & (points <= high)).all(dim=-1)
    points = torch.nan_to_num(points)
    blobs = torch.exp(-0.5 * ((places - points[..., None]) / MAP_SIGMA) ** 2)
    blobs = blobs / blobs.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    along_x = torch.matmul(logs, blobs[:, :, 0, :, None]).squeeze(-1)
    entropy = -(along_x * blobs[:, :, 1]).sum(dim=-1)
    return (entropy * inside).sum() / inside.sum().clamp(min=1)
