"""A training run that is counted in steps: the loop both stand-ins' recipes share."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from facekit.errors import DataError, FacekitError
from facekit.files import FolderLock
from facekit.progress import ProgressBar
from training.devices import choose_device
from training.record import PLOT_FILE, Record, plot_record
from training.runs import CHECKPOINT, AveragedModel, load_checkpoint, place, save_checkpoint

LOGGER = logging.getLogger("training")
RECORD_EVERY = 25
"""Steps whose mean makes an entry of the metrics file."""
CLIP_NORM = 5.0
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class RunOptions:
    """Options every run has; each trainer has its own defaults.

    Attributes:
        data: Folder of the face sets.
        out: Folder for the checkpoint, the metrics file and its plot.
        steps: Steps in all.
        seed: Seed of weights and batches.
        rate: Peak learning rate.
        warmup: Steps of the rising rate.
        cooldown: Share of the run, from its end, over which the rate falls.
        decay: Decay of the averaged weights.
        threads: Threads of torch; 0 leaves its default.
        workers: Processes that make batches.
        save_every: Steps between checkpoints.
        device: ``cpu``, ``cuda`` or ``cuda:1``; None for CUDA where there is one.
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
    device: str | None = None


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


@dataclass(frozen=True)
class StepResult:
    """What a step found.

    Attributes:
        losses: Scalars by name; their sum is what the network is trained to lower.
        figures: Scalars that are only written down, such as an error in pixels.
    """

    losses: dict[str, Tensor]
    figures: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What a trainer brings to a run.

    Attributes:
        title: What is trained, for the plot.
        network: Makes the network, after the seed is set.
        read: Reads the photos; item k of what it returns is the batch of step k.
        step: Computes a step's losses from the network, the step from 0 and its batch, whose
            tensors are on the network's device.
        figures_label: What the figures of a step are.
        settings: What a checkpoint has to agree in, by name, so that a run can go on from it;
            with the value of checkpoints that don't say.
    """

    title: str
    network: Callable[[], nn.Module]
    read: Callable[[], Dataset[dict[str, Any]]]
    step: Callable[[Any, int, dict[str, Any]], StepResult]
    figures_label: str = ""
    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def fit(options: RunOptions, recipe: Recipe) -> Path:
    """Train, or go on from the checkpoint in the output folder.

    Beside the checkpoint lie the metrics file and its plot, as of the same step.

    Returns:
        The checkpoint.

    Raises:
        DataError: The photos, or what lies in the output folder, can't be used; the folder can't
            be written to, or another run is filling it.
        ConfigError: There is no such device.
        FacekitError: The loss is no longer a number.
    """
    with FolderLock(options.out):
        return _fit(options, recipe)


def _fit(options: RunOptions, recipe: Recipe) -> Path:
    device = choose_device(options.device)
    torch.manual_seed(options.seed)
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    model = place(recipe.network(), device)
    run = _Run(options, recipe, model)
    start = run.resume()
    LOGGER.info("reading photos")
    loader = DataLoader(
        recipe.read(),
        batch_size=None,
        sampler=range(start, options.steps),
        num_workers=options.workers,
        prefetch_factor=6 if options.workers else None,
    )
    model.train()
    with ProgressBar(options.steps, "steps", already=start) as bar:
        for step, batch in enumerate(loader, start):
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            bar.advance(note=run.take(step, batch))
    return run.path


class _Run:
    """A run's state: weights, their average, the optimizer, and what was measured so far."""

    def __init__(self, options: RunOptions, recipe: Recipe, model: nn.Module) -> None:
        self.options, self.recipe, self.model = options, recipe, model
        self.path = options.out / CHECKPOINT
        self.average = AveragedModel(model, options.decay)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=options.rate, weight_decay=WEIGHT_DECAY
        )
        self.record = Record(options.out, "step")
        self.values: dict[str, list[float]] = {}
        self.figures: dict[str, None] = {}
        self.began, self.note = 0.0, ""

    def resume(self) -> int:
        """Load the checkpoint of the output folder, if there is one; return the next step."""
        start = 0
        if self.path.exists():
            state = load_checkpoint(self.path, resuming=True)
            settings = {**self.recipe.settings, "seed": (self.options.seed, None)}
            for name, (value, default) in settings.items():
                if state.get(name, default) != value:
                    raise DataError(
                        self.path,
                        f"was trained with {name} {state.get(name, default)}, not {value}: "
                        f"name another folder, or remove it",
                    )
            try:
                self.model.load_state_dict(state["model"])
                self.average.model.load_state_dict(state["average"])
                self.average.updates = start = int(state["step"])
                self.optimizer.load_state_dict(state["optimizer"])
            except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
                reason = "is of another network: name another folder, or remove it"
                raise DataError(self.path, reason) from error
            LOGGER.info("going on from step %d of %s", start, self.path)
        self.record.resume(start)
        return start

    def take(self, step: int, batch: dict[str, Any]) -> str:
        """Take a step; return what the bar shows of the last ones."""
        options = self.options
        if not self.values:
            self.began = time.monotonic()
        rate = learning_rate(step, options.steps, options.rate, options.warmup, options.cooldown)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        result = self.recipe.step(self.model, step, batch)
        cost = torch.stack(list(result.losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(cost)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.average.update(self.model)
        self._add(step, {"loss": cost, **result.losses, **result.figures})
        self.figures.update(dict.fromkeys(result.figures))
        done = step + 1
        save = done % options.save_every == 0 or done == options.steps
        if save or done % RECORD_EVERY == 0:
            self._write_down(done, rate)
        if save:
            self._save(done)
        return self.note

    def _add(self, step: int, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            number = float(value.detach())
            if not math.isfinite(number):
                raise FacekitError(
                    f"step {step + 1}: {name} is {number}; the last checkpoint is from before: "
                    f"go on with a lower rate"
                )
            self.values.setdefault(name, []).append(number)

    def _write_down(self, done: int, rate: float) -> None:
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        spent = (time.monotonic() - self.began) / len(self.values["loss"])
        self.record.append({"step": done, "rate": rate, **means, "seconds a step": spent})
        self.values = {}
        self.note = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        if not sys.stderr.isatty():
            steps = self.options.steps
            LOGGER.info("step %d/%d  %s  %.2f s a step", done, steps, self.note, spent)

    def _save(self, done: int) -> None:
        state = {
            "step": done,
            "seed": self.options.seed,
            **{name: value for name, (value, _) in self.recipe.settings.items()},
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.path, state)
        last = self.record.rows[-1]
        losses = [k for k in last if k not in ("step", "rate", "seconds a step", *self.figures)]
        plot_record(
            self.record.rows,
            self.options.out / PLOT_FILE,
            "step",
            losses,
            list(self.figures),
            self.recipe.title,
            self.recipe.figures_label,
        )
