"""The detector's training loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import runs
from training.detector.losses import detection_loss
from training.detector.network import DetectNet
from training.detector.targets import decode
from training.facenet.mixture import Mixture, load_sources


@dataclass(frozen=True)
class TrainOptions(runs.RunOptions):
    """Options of a run, with the detector's defaults."""

    steps: int = 20000
    warmup: int = 300
    cooldown: float = 0.35
    decay: float = 0.999


def train(options: runs.RunOptions) -> Path:
    """Train, or go on from the checkpoint in the output folder.

    Returns:
        The checkpoint.
    """
    device = runs.prepare(options.seed, options.threads)
    model = runs.place(DetectNet(), device)
    return runs.fit(
        options,
        model,
        lambda: Mixture(load_sources(options.data), options.seed, options.steps),
        lambda _, optimizer, batch: train_step(model, optimizer, batch, device),
    )


def train_step(
    model: DetectNet,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Any],
    device: torch.device,
) -> dict[str, float]:
    """Take one step and return its losses.

    Args:
        model: The network, in training mode.
        optimizer: Its optimiser.
        batch: A batch of ``Mixture``.
        device: Where to compute; in bfloat16 where the layers allow it.
    """
    batch = {name: value.to(device) for name, value in batch.items()}
    image = batch["image"].float().div_(255.0).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        bbox, coverage = model.logits(image)
    parts = detection_loss(
        decode(bbox),
        coverage,
        batch["boxes"],
        batch["covered"],
        batch["box_weight"],
        batch["coverage_weight"],
    )
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(parts.values())).sum())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in parts.items()}
