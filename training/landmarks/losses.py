"""Losses of the landmark network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from facekit.contract import CROP_SIDE
from training.landmarks.network import map_places

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


def map_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Return the cross entropy of the softmax maps against a blob at each true point.

    It is the mean over the points that are annotated and lie inside the crop. Logit maps are
    float32 [n, points, size, size]; points [n, points, 2] as in ``point_loss``.
    """
    inside = ((points >= 0) & (points <= CROP_SIDE - 1)).all(dim=-1)
    points = torch.nan_to_num(points)
    places = map_places(maps.shape[-1]).to(maps.device)
    blobs = torch.exp(-0.5 * ((places - points[..., None]) / MAP_SIGMA) ** 2)
    blobs = blobs / blobs.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    along_x = torch.matmul(maps, blobs[:, :, 0, :, None]).squeeze(-1)
    expected = (along_x * blobs[:, :, 1]).sum(dim=-1)
    entropy = torch.logsumexp(maps.flatten(2), dim=-1) - expected
    return (entropy * inside).sum() / inside.sum().clamp(min=1)
