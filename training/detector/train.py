"""The detector's training loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from training import runs
from training.detector.losses import detection_loss
from training.detector.mixture import Mixture, load_sources
from training.detector.network import DetectNet
from training.detector.targets import decode

LOGGER = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainOptions:
    """Options of a run.

    Attributes:
        data: Folder of the face sets.
        out: Folder for the checkpoint.
        steps: Steps in all.
        seed: Seed of weights and frames.
        rate: Peak learning rate.
        warmup: Steps of the rising rate.
        cooldown: Share of the run, from its end, over which the rate falls.
        decay: Decay of the averaged weights.
        threads: Threads of torch; 0 leaves its default.
        workers: Processes that make frames.
        save_every: Steps between checkpoints.
    """

    data: Path
    out: Path
    steps: int = 20000
    seed: int = 0
    rate: float = 2e-3
    warmup: int = 300
    cooldown: float = 0.35
    decay: float = 0.999
    threads: int = 1
    workers: int = 1
    save_every: int = 250


def train(options: TrainOptions) -> Path:
    """Train, or go on from the checkpoint in the output folder.

    Returns:
        The checkpoint.
    """
    device = runs.prepare(options.seed, options.threads)
    model = runs.place(DetectNet(), device)
    average = runs.AveragedModel(model, options.decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    path = options.out / CHECKPOINT
    start = 0
    if path.exists():
        state = runs.load_checkpoint(path)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        average.updates = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        start = int(state["step"])
        LOGGER.info("going on from step %d of %s", start, path)
    LOGGER.info("reading photos")
    mixture = Mixture(load_sources(options.data), options.seed, options.steps)
    loader = DataLoader(
        mixture,
        batch_size=None,
        sampler=range(start, options.steps),
        num_workers=options.workers,
        prefetch_factor=6 if options.workers else None,
    )
    progress = runs.Progress(start, options.steps)
    model.train()
    for step, batch in enumerate(loader, start):
        rate = runs.learning_rate(
            step, options.steps, options.rate, options.warmup, options.cooldown
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = train_step(model, optimizer, batch, device)
        average.update(model)
        progress.update(step, losses)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            runs.save_checkpoint(
                path,
                {
                    "step": step + 1,
                    "seed": options.seed,
                    "model": model.state_dict(),
                    "average": average.model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )
    return path


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
