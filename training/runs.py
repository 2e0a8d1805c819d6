"""What every training run needs: averaged weights, schedule, checkpoints, progress line."""

from __future__ import annotations

import copy
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

LOGGER = logging.getLogger("training")
CHECKPOINT = "checkpoint.pt"
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class RunOptions:
    """Options every run has; each trainer has its own defaults.

    Attributes:
        data: Folder of the face sets.
        out: Folder for the checkpoint.
        steps: Steps in all.
        seed: Seed of weights and batches.
        rate: Peak learning rate.
        warmup: Steps of the rising rate.
        cooldown: Share of the run, from its end, over which the rate falls.
        decay: Decay of the averaged weights.
        threads: Threads of torch; 0 leaves its default.
        workers: Processes that make batches.
        save_every: Steps between checkpoints.
    """

    data: Path
    out: Path
    steps: int = 8000
    seed: int = 0
    rate: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.5
    decay: float = 0.998
    threads: int = 1
    workers: int = 1
    save_every: int = 250


def step_rng(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """Return the generator of one step: the same however often a run was interrupted."""
    return np.random.default_rng([seed, stream, step])


def learning_rate(step: int, total: int, peak: float, warmup: int, cooldown: float) -> float:
    """Return the learning rate of a step: ramp up, stay, then fall to 1 % of the peak.

    The plateau lets a run be resumed with another total before its fall begins, and end as
    if it had been started with that total.

    Args:
        step: Step from 0.
        total: Steps of the run.
        peak: Rate of the plateau.
        warmup: Steps of the ramp.
        cooldown: Share of the run, from its end, over which the rate falls.
    """
    rise = min(1.0, (step + 1) / max(warmup, 1))
    left = (total - step) / max(total * cooldown, 1.0)
    return peak * rise * max(0.01, min(1.0, left))


class AveragedModel:
    """An exponential moving average of a model's weights and batch statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's present weights.

        Args:
            model: The model that is trained.
            decay: Share of the average kept at a step, once warmed up.
        """
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        self.updates = 0

    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        source = model.state_dict()
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(source[name].to(value.dtype), 1.0 - decay)
                else:
                    value.copy_(source[name])


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves either the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        SystemExit: The file is missing or damaged; the message names it.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SystemExit(f"{path}: no such checkpoint") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise SystemExit(f"{path}: is not a usable checkpoint: {error}") from error
    return state


class Progress:
    """One line on standard error: step, losses, rate and time left."""

    def __init__(self, start: int, total: int, every: int = 20) -> None:
        """Begin at step ``start`` of ``total``; write at every ``every``-th step."""
        self.start, self.total, self.every = start, total, every
        self.began = time.monotonic()
        self.sums: dict[str, float] = {}
        self.count = 0

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Add the losses of a finished step."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if (step + 1) % self.every and step + 1 < self.total:
            return
        rate = (step + 1 - self.start) / max(time.monotonic() - self.began, 1e-6)
        left = int((self.total - step - 1) / max(rate, 1e-6))
        shown = "  ".join(f"{name} {value / self.count:.4f}" for name, value in self.sums.items())
        clock = f"{left // 60}m{left % 60:02d}s left"
        line = f"step {step + 1}/{self.total}  {shown}  {rate:.2f} steps/s  {clock}"
        end = "\n" if not sys.stderr.isatty() or step + 1 == self.total else ""
        sys.stderr.write(("\r" if sys.stderr.isatty() else "") + line + end)
        sys.stderr.flush()
        self.sums, self.count = {}, 0


def prepare(seed: int, threads: int) -> torch.device:
    """Seed torch, set its threads, and return the device: CUDA where there is one."""
    torch.manual_seed(seed)
    if threads > 0:
        torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def place(model: ModuleT, device: torch.device) -> ModuleT:
    """Move a model to a device, channels last: the layout the convolutions are fastest in."""
    moved: ModuleT = cast(Any, model).to(device, memory_format=torch.channels_last)
    return moved


def fit(
    options: RunOptions,
    model: nn.Module,
    read: Callable[[], Dataset[dict[str, Any]]],
    take_step: Callable[[int, torch.optim.Optimizer, dict[str, Any]], dict[str, float]],
) -> Path:
    """Train, or go on from the checkpoint in the output folder.

    Args:
        options: The run's options.
        model: The network, on its device.
        read: Reads the photos; item k of what it returns is the batch of step k.
        take_step: Takes a step and returns its losses by name.

    Returns:
        The checkpoint.
    """
    average = AveragedModel(model, options.decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    path = options.out / CHECKPOINT
    start = 0
    if path.exists():
        state = load_checkpoint(path)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        average.updates = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        start = int(state["step"])
        LOGGER.info("going on from step %d of %s", start, path)
    LOGGER.info("reading photos")
    loader = DataLoader(
        read(),
        batch_size=None,
        sampler=range(start, options.steps),
        num_workers=options.workers,
        prefetch_factor=6 if options.workers else None,
    )
    progress = Progress(start, options.steps)
    model.train()
    for step, batch in enumerate(loader, start):
        rate = learning_rate(step, options.steps, options.rate, options.warmup, options.cooldown)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = take_step(step, optimizer, batch)
        average.update(model)
        progress.update(step, losses)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            save_checkpoint(
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
