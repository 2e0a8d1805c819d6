"""The loop in which every network is trained, and what it leaves in the folder of a run.

A network, its data and its losses are a ``Recipe``. A run goes on from its checkpoint after a kill
and ends with the same weights, because the batch of a step depends on the seed and the step alone.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facekit.errors import DataError, FacekitError
from facekit.files import FolderLock
from facekit.progress import ProgressBar
from training.checkpoints import CHECKPOINT, AveragedModel, load_checkpoint, save_checkpoint
from training.devices import choose_device, place
from training.record import PLOT_FILE, Record, plot_record

LOGGER = logging.getLogger("training")
ROW_STEPS = 25
"""Steps whose mean makes a line of the metrics file, where lines are not counted in epochs."""
CLIP_NORM = 5.0
"""Largest norm of a step's gradient."""


def step_rng(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """Return the generator of one step: the same however often a run was interrupted."""
    return np.random.default_rng([seed, stream, step])


@dataclass(frozen=True)
class Machine:
    """Threads of torch (0: its default), processes that make batches, and device of a run.

    The device is ``cpu``, ``cuda`` or ``cuda:1``; None for CUDA where there is one.
    """

    threads: int = 1
    workers: int = 1
    device: str | None = None


@dataclass(frozen=True)
class StepResult:
    """The scalar that the network is trained to lower, and scalars that are written down.

    Those are parts of the loss, or figures such as an error in pixels.
    """

    loss: Tensor
    values: dict[str, Tensor] = field(default_factory=dict)


class Recipe:
    """What is trained: a network, its batches and its losses.

    Attributes:
        title: What is trained, for the plot.
        steps: Steps of the run; known once ``read`` has returned.
        average_decay: Decay of the averaged weights; 0 for none.
        unit: What the lines of the metrics file are counted in: ``step`` or ``epoch``.
        figures: Keys of the metrics file that are not losses, but ``figures_label``.
    """

    title: str
    seed: int
    steps: int
    save_every: int = 200
    average_decay: float = 0.0
    unit: str = "step"
    figures: tuple[str, ...] = ()
    figures_label: str = ""

    def check(self, path: Path, state: Mapping[str, Any]) -> None:
        """Raise DataError for a checkpoint of another network, or of a run with other settings."""
        if state.get("seed") != self.seed:
            raise other_run(path, "seed", state.get("seed"), self.seed)

    def read(self) -> Any:
        """Read the data and return the batches: item k is the batch of step k, by name."""
        raise NotImplementedError

    def network(self, state: Mapping[str, Any] | None, device: torch.device) -> nn.Module:
        """Return the network to begin with, or that of a checkpoint, whose weights are loaded."""
        raise NotImplementedError

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return what changes the weights."""
        raise NotImplementedError

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        raise NotImplementedError

    def step(self, model: Any, step: int, batch: dict[str, Tensor]) -> StepResult:
        """Return the loss of a step, counted from 0; the batch is on the network's device."""
        raise NotImplementedError

    def train_mode(self, model: nn.Module) -> None:
        """Put the network into training mode."""
        model.train()

    def before_update(self, model: nn.Module) -> None:
        """Change the gradients of a step before they are clipped."""

    def epochs_after(self, steps: int) -> int:
        """Return how many epochs are over after so many steps; 0 where a run has none."""
        return 0

    def end_epoch(self, run: Run, before: int) -> dict[str, float]:
        """Do what is due after ``run.epoch`` epochs, once ``before``; return what was measured."""
        return {}

    def remedy(self, run: Run) -> str:
        """Return what to do about a loss that is not a number."""
        return "the last checkpoint is from before: go on with a lower rate"

    def state(self, run: Run) -> dict[str, Any]:
        """Return what a checkpoint holds beside weights and steps, for ``check`` and ``load``."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""

    def finish(self, run: Run) -> Path:
        """Return the file that the command names at the end."""
        return run.path


def other_run(path: Path, name: str, found: Any, asked: Any) -> DataError:
    """Return the error of a checkpoint that a run with another setting wrote."""
    reason = f"was trained with {name} {found}, not {asked}: name another folder, or remove it"
    return DataError(path, reason)


def fit(recipe: Recipe, out: Path, machine: Machine) -> Path:
    """Train, or go on from the checkpoint in the output folder, which also gets the metrics.

    Returns what ``Recipe.finish`` does: the checkpoint, or the final network.

    Raises:
        DataError: The data, or what lies in the output folder, can't be used; the folder can't
            be written to, or another run is filling it.
        ConfigError: There is no such device.
        FacekitError: The loss is no longer a number.
    """
    with FolderLock(out):
        run = Run(recipe, out, machine)
        run.go()
        return recipe.finish(run)


class Run:
    """A run, begun anew or taken up from the checkpoint ``path`` in its folder ``out``.

    ``average`` are the averaged weights, if the recipe keeps any; ``done`` and ``epoch`` the steps
    and epochs that are over. ``Recipe.end_epoch`` sets ``stale`` where it changed the data, as
    after mining hard negatives: the batches that were made ahead are then made again.
    """

    def __init__(self, recipe: Recipe, out: Path, machine: Machine) -> None:
        self.recipe, self.out, self.machine = recipe, out, machine
        if machine.threads > 0:
            torch.set_num_threads(machine.threads)
        torch.backends.cudnn.deterministic = True
        self.device = choose_device(machine.device)
        self.path = out / CHECKPOINT
        state = load_checkpoint(self.path, resuming=True) if self.path.exists() else None
        if state:
            recipe.check(self.path, state)
        LOGGER.info("reading photos")
        self.batches = recipe.read()
        torch.manual_seed(recipe.seed)
        self.model = place(recipe.network(state, self.device), self.device)
        decay = recipe.average_decay
        self.average = AveragedModel(self.model, decay) if decay else None
        self.optimizer = recipe.optimizer(self.model)
        self.done = self.epoch = 0
        self.stale = False
        self.rate = 0.0
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        if state:
            self._resume(state)
        self.record = Record(out, recipe.unit)
        self.record.resume(self.epoch if recipe.unit == "epoch" else self.done)

    @property
    def last(self) -> bool:
        """Whether all steps are done."""
        return self.done >= self.recipe.steps

    @property
    def kept(self) -> nn.Module:
        """The network that is measured and kept: the average where there is one."""
        return self.average.model if self.average else self.model

    def _resume(self, state: Mapping[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
            if self.average:
                self.average.model.load_state_dict(state["average"] or state["model"])
                self.average.updates = int(state["step"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.done, self.epoch = int(state["step"]), int(state.get("epoch", 0))
            self.sums = dict(state.get("sums", {}))
            self.counts = dict.fromkeys(self.sums, int(state.get("summed", 0)))
            self.recipe.load(state)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = "is of another network: name another folder, or remove it"
            raise DataError(self.path, reason) from error
        LOGGER.info("going on from step %d of %s", self.done, self.path)

    def go(self) -> None:
        """Take every step that is left."""
        if self.last:
            LOGGER.info("all %d steps of %s are done", self.done, self.path)
            return
        self.recipe.train_mode(self.model)
        began, first = time.monotonic(), self.done
        with ProgressBar(self.recipe.steps, "steps", already=first) as bar:
            while not self.last:
                self.stale = False
                for batch in self._loader():
                    self._take({n: v.to(self.device, non_blocking=True) for n, v in batch.items()})
                    self._after_step((time.monotonic() - began) / (self.done - first))
                    bar.advance(note=_text(self._means()))
                    if self.stale:
                        break

    def _loader(self) -> Iterable[dict[str, Tensor]]:
        """Return the batches of the steps that are left, which the workers make ahead."""
        workers = self.machine.workers
        loader: Iterable[dict[str, Tensor]] = DataLoader(
            self.batches,
            batch_size=None,
            sampler=range(self.done, self.recipe.steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
        )
        return loader

    def _take(self, batch: dict[str, Tensor]) -> None:
        """Take one step."""
        self.rate = self.recipe.rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        result = self.recipe.step(self.model, self.done, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(result.loss)
        self.recipe.before_update(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model)
        for name, value in {"loss": result.loss, **result.values}.items():
            number = float(value.detach())
            if not math.isfinite(number):
                remedy = self.recipe.remedy(self)
                raise FacekitError(f"step {self.done + 1}: the {name} is {number}; {remedy}")
            self.sums[name] = self.sums.get(name, 0.0) + number
            self.counts[name] = self.counts.get(name, 0) + 1
        self.done += 1

    def _means(self) -> dict[str, float]:
        return {name: value / self.counts[name] for name, value in self.sums.items()}

    def _after_step(self, seconds: float) -> None:
        """Measure where it is time, write the metrics down, and save."""
        by_epoch = self.recipe.unit == "epoch"
        before, self.epoch = self.epoch, self.recipe.epochs_after(self.done)
        over = self.epoch > before or (by_epoch and self.last)
        save = over or self.last or self.done % self.recipe.save_every == 0
        figures = self.recipe.end_epoch(self, before) if over else {}
        due = over if by_epoch else save or self.done % ROW_STEPS == 0
        if due:
            self._write_row(figures, seconds)
        if save:
            self._save()
        if due and save and (figures or self.last or not by_epoch):
            self._plot()

    def _write_row(self, figures: Mapping[str, float], seconds: float) -> None:
        values = {**self._means(), **figures}
        self.sums, self.counts = {}, {}
        place = {"epoch": self.epoch} if self.recipe.unit == "epoch" else {}
        row = {**place, "step": self.done, "rate": self.rate, **values}
        self.record.append({**row, "seconds a step": round(seconds, 4)})
        on_terminal = sys.stderr.isatty()
        if place or not on_terminal:
            clear = "\r\x1b[K" if on_terminal else ""
            where = f"epoch {self.epoch}, " if place else ""
            left = math.ceil((self.recipe.steps - self.done) * seconds / 60)
            steps = f"step {self.done}/{self.recipe.steps}"
            LOGGER.info("%s%s%s  %s  %d min left", clear, where, steps, _text(values), left)

    def _save(self) -> None:
        state = {
            "step": self.done,
            "epoch": self.epoch,
            "seed": self.recipe.seed,
            **self.recipe.state(self),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "sums": self.sums,
            "summed": max(self.counts.values(), default=0),
        }
        save_checkpoint(self.path, state)

    def _plot(self) -> None:
        rows, recipe, path = self.record.rows, self.recipe, self.out / PLOT_FILE
        others = {"epoch", "step", "rate", "seconds a step", *recipe.figures}
        losses = [name for name in rows[-1] if name not in others]
        figures, title, label = recipe.figures, recipe.title, recipe.figures_label
        plot_record(rows, path, recipe.unit, losses, figures, title, label)


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
