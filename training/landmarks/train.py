"""The landmark network's training loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from facekit.contract import CROP_SIDE
from training import runs
from training.landmarks.augment import Crops, load_patches
from training.landmarks.losses import MAP_WEIGHT, map_loss, wing_loss
from training.landmarks.network import LandmarkNet

COARSE_SIZE = 40
"""Side of the maps during most of the training: a quarter of the work."""
COARSE_SHARE = 0.85
"""Share of a run, from its start, that trains on the coarse maps."""


@dataclass(frozen=True)
class TrainOptions(runs.RunOptions):
    """Options of a run, with the landmark network's defaults."""


def train(options: runs.RunOptions) -> Path:
    """Train, or go on from the checkpoint in the output folder.

    Returns:
        The checkpoint.
    """
    device = runs.prepare(options.seed, options.threads)
    model = runs.place(LandmarkNet(), device)

    def take_step(
        step: int, optimizer: torch.optim.Optimizer, batch: dict[str, Any]
    ) -> dict[str, float]:
        model.set_map_size(COARSE_SIZE if step < COARSE_SHARE * options.steps else CROP_SIDE)
        return train_step(model, optimizer, batch, device)

    return runs.fit(
        options,
        model,
        lambda: Crops(load_patches(options.data), options.seed, options.steps),
        take_step,
    )


def train_step(
    model: LandmarkNet,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Any],
    device: torch.device,
) -> dict[str, float]:
    """Take one step and return its losses.

    Args:
        model: The network, in training mode.
        optimizer: Its optimiser.
        batch: A batch of ``Crops``.
        device: Where to compute; in bfloat16 where the layers allow it.
    """
    crops = batch["crops"].to(device).float().contiguous(memory_format=torch.channels_last)
    points = batch["points"].to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        small = model.small_maps(crops)
    maps = model.enlarge(small.float())
    chance = torch.softmax(maps.flatten(2), dim=-1)
    found = torch.matmul(chance, model.get_buffer("grid"))
    parts = {"wing": wing_loss(found, points), "map": MAP_WEIGHT * map_loss(maps, points)}
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(parts.values())).sum())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    result = {name: float(value.detach()) for name, value in parts.items()}
    result["pixels"] = float((found.detach() - points).norm(dim=-1).mean())
    return result
