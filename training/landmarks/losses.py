"""Losses of the landmark network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facekit.contract import CROP_SIDE
from training.landmarks.network import map_places

WING_WIDTH = 4.0
WING_CURVATURE = 0.8
MAP_SIGMA = 2.0
MAP_WEIGHT = 0.15


def wing_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the mean wing loss of points in crop pixels, any equal shapes.

    Logarithmic up to 4 pixels, so that small errors count, linear beyond.
    """
    error = (predicted - true).abs()
    offset = WING_WIDTH - WING_WIDTH * math.log(1 + WING_WIDTH / WING_CURVATURE)
    near = WING_WIDTH * torch.log1p(error / WING_CURVATURE)
    return torch.where(error < WING_WIDTH, near, error - offset).mean()


def map_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Return the cross entropy of the softmax maps against a blob at each true point.

    Args:
        maps: float32 [n, points, size, size], logits.
        points: float32 [n, points, 2], x and y in crop pixels.

    Returns:
        The mean over the points that lie inside the crop.
    """
    inside = ((points >= 0) & (points <= CROP_SIDE - 1)).all(dim=-1)
    places = map_places(maps.shape[-1]).to(maps.device)
    blobs = torch.exp(-0.5 * ((places - points[..., None]) / MAP_SIGMA) ** 2)
    blobs = blobs / blobs.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    along_x = torch.matmul(maps, blobs[:, :, 0, :, None]).squeeze(-1)
    expected = (along_x * blobs[:, :, 1]).sum(dim=-1)
    entropy = torch.logsumexp(maps.flatten(2), dim=-1) - expected
    return (entropy * inside).sum() / inside.sum().clamp(min=1)
