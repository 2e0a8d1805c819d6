"""The landmark network's recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.contract import CROP_SIDE
from facekit.evaluation.landmark_errors import region_points
from facekit.labels.pts import POINT_COUNT
from training.devices import half_precision
from training.landmarks.augment import Crops, load_patches
from training.landmarks.losses import MAP_WEIGHT, map_loss, point_loss
from training.landmarks.network import LandmarkNet
from training.steps import Recipe, RunOptions, StepResult, fit

COARSE_SIZE = 40
"""Side of the maps during most of the training: a quarter of the work."""
COARSE_SHARE = 0.85
"""Share of a run, from its start, that trains on the coarse maps."""
REGIONS = ("all", "eyes", "mouth")
"""Whose errors are written down: those of NVIDIA's card."""


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """Options of a run, with the landmark network's defaults.

    Attributes:
        points: 68, 80 or 104.
        loss: Of the points: ``wing``, ``l1`` or ``l2``.
    """

    points: int = POINT_COUNT
    loss: str = "wing"


def train(options: TrainOptions) -> Path:
    """Train, or go on from the checkpoint in the output folder; see ``training.steps.fit``.

    Returns:
        The checkpoint.
    """

    def step(model: LandmarkNet, step: int, batch: dict[str, Any]) -> StepResult:
        model.set_map_size(COARSE_SIZE if step < COARSE_SHARE * options.steps else CROP_SIDE)
        return compute(model, batch, options.loss)

    return fit(
        options,
        Recipe(
            title=f"Landmarks: {options.points} points, {options.loss} loss",
            network=lambda: LandmarkNet(options.points),
            read=lambda: Crops(
                load_patches(options.data, options.points), options.seed, options.steps
            ),
            step=step,
            figures_label="error on training crops, pixels",
            settings={"points": (options.points, POINT_COUNT), "loss": (options.loss, "wing")},
        ),
    )


def compute(model: LandmarkNet, batch: dict[str, Any], loss: str = "wing") -> StepResult:
    """Compute a step's losses, and its errors in crop pixels by region.

    Args:
        model: The network, in training mode.
        batch: A batch of ``Crops``, on the network's device.
        loss: Of the points.
    """
    crops = batch["crops"].float().contiguous(memory_format=torch.channels_last)
    points = batch["points"]
    with half_precision(crops.device):
        small = model.small_maps(crops)
    maps = model.enlarge(small.float())
    chance = torch.softmax(maps.flatten(2), dim=-1)
    found = torch.matmul(chance, model.get_buffer("grid"))
    losses = {loss: point_loss(found, points, loss), "map": MAP_WEIGHT * map_loss(maps, points)}
    return StepResult(losses, region_errors(found.detach(), points))


def region_errors(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Return the mean distance of the annotated points by region, where a region has any.

    Args:
        found: float32 [n, points, 2], crop pixels.
        true: The same; NaN where not annotated.
    """
    distance = (found - true).norm(dim=-1)
    known = torch.isfinite(distance)
    regions = region_points(true.shape[1])
    errors = {}
    for name in REGIONS:
        part = torch.from_numpy(regions[name]).to(distance.device)
        here = known[:, part]
        if bool(here.any()):
            errors[name] = distance[:, part][here].mean()
    return errors
