"""A run of a spec: its network, optimizer and cost, and how far it has come."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facekit.errors import DataError, FacekitError
from facekit.progress import ProgressBar
from training.detector.batches import Batches
from training.detector.checkpoint import (
    Network,
    check_experiment,
    read_checkpoint,
    save_network,
    settings_of,
)
from training.detector.cost import CostFunction
from training.detector.frames import PhotoSet
from training.detector.measure import evaluate_network
from training.detector.network import DetectNet, Layout
from training.detector.schedule import falls_within, learning_rate
from training.detector.start import begin, freeze
from training.detector.step import numbers, predict, set_rate, to_device, to_unit
from training.experiment.sections import read_text
from training.experiment.settings import Experiment
from training.record import PLOT_FILE, Record, plot_record
from training.runs import CHECKPOINT, AveragedModel, place, save_checkpoint

LOGGER = logging.getLogger("training")
WEIGHTS_FOLDER = "weights"
CLIP_NORM = 5.0
"""Not TLT's: the largest norm of a step's gradient."""
SAVE_EVERY = 200
"""Steps after which a run that is killed is at most set back, in long epochs."""
UNFOLD_BATCHES = 4
"""Batches on which the statistics of folded batch norms are measured."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to a spec.

    Attributes:
        out: Folder of the run: ``checkpoint.pt``, ``metrics.jsonl``, ``metrics.png`` and the
            networks that are kept, ``weights/*.pt``.
        name: Name of the final network, ``weights/<name>.pt``.
        threads: Threads of torch; 0 leaves its default.
        workers: Processes that make batches.
        device: Name of the device; None for CUDA where there is one.
    """

    out: Path
    name: str = "model"
    threads: int = 0
    workers: int = 1
    device: str | None = None


class Run:
    """A run, begun anew or taken up from the checkpoint in its folder."""

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        device: torch.device,
        batches: Batches,
        validation: PhotoSet,
    ) -> None:
        self.experiment, self.options, self.device = experiment, options, device
        self.batches, self.validation = batches, validation
        self.names = experiment.dataset.class_names
        self.path = options.out / CHECKPOINT
        self.spec = read_text(experiment.path)
        torch.manual_seed(experiment.random_seed)
        torch.backends.cudnn.deterministic = True
        state = read_checkpoint(self.path, resuming=True) if self.path.exists() else None
        self.model = self._resumed_model(state) if state else self._new_model()
        self.frozen_norms = freeze(self.model, experiment.model)
        training = experiment.training
        self.average = (
            AveragedModel(self.model, training.average_decay) if training.average_decay else None
        )
        self.optimizer = torch.optim.Adam(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=training.min_learning_rate,
            betas=(training.adam_beta1, training.adam_beta2),
            eps=training.adam_epsilon,
        )
        self.cost = CostFunction(experiment.cost, device)
        self.kernels = [p for p in self.model.parameters() if p.requires_grad and p.ndim == 4]
        self.step = self.epoch = 0
        self.rate = 0.0
        self.sums: dict[str, float] = {}
        self.summed = 0
        if state:
            self._resume(state)
        self.record = Record(options.out, "epoch")
        self.record.resume(self.epoch)

    def _new_model(self) -> DetectNet:
        """Return the network to begin with."""
        count = min(UNFOLD_BATCHES, len(self.batches))
        images = (to_unit(self.batches[k]["image"].to(self.device)) for k in range(count))
        return begin(self.experiment.model, self.names, self.device, images)

    def _resumed_model(self, state: dict[str, Any]) -> DetectNet:
        """Return the network of a checkpoint, if it belongs to this spec."""
        check_experiment(self.path, state, self.experiment)
        return place(DetectNet(Layout.from_dict(state["layout"])), self.device)

    def _resume(self, state: dict[str, Any]) -> None:
        """Take up everything that a checkpoint holds."""
        try:
            self.model.load_state_dict(state["model"])
            if self.average is not None:
                self.average.model.load_state_dict(state["average"] or state["model"])
                self.average.updates = int(state["step"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.cost.load(state["cost"])
            self.step, self.epoch = int(state["step"]), int(state["epoch"])
            self.sums, self.summed = dict(state["sums"]), int(state["summed"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise DataError(self.path, f"does not fit the spec: {error}") from error
        LOGGER.info("going on from epoch %d, step %d of %s", self.epoch, self.step, self.path)

    def _train_mode(self) -> None:
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()

    def go(self) -> None:
        """Take every step that is left."""
        total = len(self.batches)
        if self.step >= total:
            LOGGER.info("all %d steps of %s are done", total, self.path)
            return
        workers = self.options.workers
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=range(self.step, total),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
        )
        self._train_mode()
        self.began, self.begin_step = time.monotonic(), self.step
        with ProgressBar(total, "steps", already=self.step) as bar:
            for batch in loader:
                self._add(self._take(to_device(batch, self.device)))
                self.step += 1
                over = self.batches.epochs_after(self.step - 1)
                if over > self.epoch or self.step == total:
                    self._end_epoch(over)
                elif self.step % SAVE_EVERY == 0:
                    self._save()
                bar.advance(note=f"epoch {self.epoch + 1}  {_text(self._means())}")

    def _take(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Take one step and return its losses."""
        training = self.experiment.training
        self.rate = learning_rate(self.step / max(len(self.batches) - 1, 1), training)
        set_rate(self.optimizer, self.rate)
        predicted, logit = predict(self.model, batch["image"], training.bfloat16)
        total, losses = self.cost(predicted, logit, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self._regularize()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        return numbers({"loss": total, **losses})

    def _regularize(self) -> None:
        """Add the regularizer's derivative: as if the loss held its sum over the kernels."""
        training = self.experiment.training
        if training.regularizer == "NO_REG" or training.regularizer_weight == 0:
            return
        with torch.no_grad():
            for kernel in self.kernels:
                if kernel.grad is not None:
                    slope = kernel.sign() if training.regularizer == "L1" else 2 * kernel
                    kernel.grad.add_(slope, alpha=training.regularizer_weight)

    def _add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FacekitError(f"step {self.step + 1}: the {name} is {value}; {self._cause()}")
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.summed += 1

    def _cause(self) -> str:
        """Return what a loss that is no number comes from, and what to do."""
        spec = self.experiment.path
        if self.step == 0:
            start = self.experiment.model.pretrained or "as initialized"
            return f"so the network that {spec} begins with gives none ({start})"
        saved = f"; {self.path} is from before" if self.path.exists() else ""
        return f"the network has diverged: lower max_learning_rate of {spec}{saved}"

    def _means(self) -> dict[str, float]:
        return {name: value / max(self.summed, 1) for name, value in self.sums.items()}

    def _end_epoch(self, epoch: int) -> None:
        """Measure where it is time, write the metrics down, and save; several may end at once."""
        before, self.epoch = self.epoch, epoch
        row: dict[str, Any] = {"epoch": epoch, "step": self.step, "rate": self.rate}
        row |= self._means()
        last = self.step == len(self.batches)
        evaluation = self.experiment.evaluation
        due = last or falls_within(before, epoch, evaluation.first_epoch, evaluation.period)
        figures = self._measure() if due and self.validation.photos else {}
        spent = (time.monotonic() - self.began) / max(self.step - self.begin_step, 1)
        self.cost.end_epoch()
        self.sums, self.summed = {}, 0
        self.record.append({**row, **figures, "seconds a step": round(spent, 4)})
        self._save()
        interval = self.experiment.training.checkpoint_interval
        if falls_within(before, epoch, interval, interval) and not last:
            save_network(self._weights(f"epoch-{epoch:03d}"), self._network())
        if figures or last:
            self._plot()
        shown = {k: v for k, v in {**row, **figures}.items() if k not in ("epoch", "step", "rate")}
        LOGGER.info(
            "%sepoch %d/%d  %s  %d min left",
            "\r\x1b[K" if sys.stderr.isatty() else "",
            epoch,
            self.experiment.training.epochs,
            _text(shown),
            math.ceil((len(self.batches) - self.step) * spent / 60),
        )

    def _measure(self) -> dict[str, float]:
        """Return the average precision of each class on the validation photos, and their mean."""
        model = self.average.model if self.average is not None else self.model
        found = evaluate_network(model, self.validation, self.experiment)
        self._train_mode()
        return {"mAP": found.mean_ap} | {f"AP {n}": v for n, v in found.class_ap.items()}

    def _network(self) -> Network:
        chosen = self.average.model if self.average is not None else self.model
        frame = self.experiment.augmentation
        return Network(
            self.model.layout,
            self.names,
            (frame.width, frame.height),
            {name: value.detach().cpu() for name, value in chosen.state_dict().items()},
            epoch=self.epoch,
            step=self.step,
            seed=self.experiment.random_seed,
        )

    def _weights(self, name: str) -> Path:
        return self.options.out / WEIGHTS_FOLDER / f"{name}.pt"

    def _save(self) -> None:
        state = self._network().to_dict() | {
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "cost": self.cost.state(),
            "sums": self.sums,
            "summed": self.summed,
            "spec": self.spec,
            "settings": settings_of(self.experiment),
        }
        save_checkpoint(self.path, state)

    def _plot(self) -> None:
        rows = self.record.rows
        figures = ["mAP", *(f"AP {name}" for name in self.names)]
        plot_record(
            rows, self.options.out / PLOT_FILE, "epoch", ["loss", "coverage", "box"], figures,
            f"{self.experiment.path.name}: {self.model.parameter_count():,} parameters",
            "average precision",
        )  # fmt: skip

    def finish(self) -> Path:
        """Write the final network and return its file."""
        path = self._weights(self.options.name)
        save_network(path, self._network())
        return path


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())
