"""Recipes that are counted in steps, and their command line: ``train``, ``export``, ``evaluate``.

They have AdamW, averaged weights, and a learning rate that stays and falls.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from facekit.cli import positive_number, whole_number
from facekit.errors import writing
from facekit.files import write_whole
from facekit.outputs import begins_as, check_own
from training.loop import Machine, Recipe, fit

WEIGHT_DECAY = 0.01
_FIGURES = re.compile(rb'\{\n(?:  "[^"]*": (?:-?[\d.]+(?:e[+-]?\d+)?|NaN|-?Infinity),?\n)+\}\n\Z')
"""What ``--json`` writes: names and numbers."""


@dataclass(frozen=True)
class StepOptions:
    """Options every run has; each trainer has its own defaults.

    ``data`` is the folder of the face sets, ``out`` that of the checkpoint and the metrics.
    ``rate`` is the peak of the learning rate, which rises over ``warmup`` steps and falls over the
    last ``cooldown`` of the run, a share. ``decay`` is that of the averaged weights, and
    ``save_every`` are the steps between checkpoints.
    """

    data: Path
    out: Path
    steps: int = 8000
    seed: int = 0
    rate: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.5
    decay: float = 0.998
    save_every: int = 250


def learning_rate(step: int, total: int, peak: float, warmup: int, cooldown: float) -> float:
    """Return the learning rate of a step from 0: ramp up, stay, then fall to 1 % of the peak.

    The plateau lets a run be resumed with another total before its fall begins, and end as
    if it had been started with that total.
    """
    rise = min(1.0, (step + 1) / max(warmup, 1))
    left = (total - step) / max(total * cooldown, 1.0)
    return peak * rise * max(0.01, min(1.0, left))


class StepRecipe(Recipe):
    """A recipe whose run has a number of steps."""

    def __init__(self, options: StepOptions) -> None:
        self.options = options
        self.seed, self.steps = options.seed, options.steps
        self.save_every, self.average_decay = options.save_every, options.decay

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(
            model.parameters(), lr=self.options.rate, weight_decay=WEIGHT_DECAY
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        o = self.options
        return learning_rate(step, o.steps, o.rate, o.warmup, o.cooldown)


class Parsers(NamedTuple):
    """The parser of ``python -m NAME`` and those of its commands, to add options to."""

    whole: argparse.ArgumentParser
    train: argparse.ArgumentParser
    export: argparse.ArgumentParser
    evaluate: argparse.ArgumentParser


def make_parsers(name: str, description: str | None, defaults: type[StepOptions]) -> Parsers:
    """Return the parsers with the options that both trainers have."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("train", help="train, or go on from OUT/checkpoint.pt")
    run.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    run.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    count = whole_number(0)
    run.add_argument("--steps", type=whole_number(1), default=defaults.steps)
    run.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=defaults.seed)
    run.add_argument(
        "--rate", type=positive_number, default=defaults.rate, help="peak learning rate"
    )
    run.add_argument("--threads", type=count, default=1, help="0: torch's own")
    run.add_argument("--workers", type=count, default=1, help="processes")
    run.add_argument("--device", help="cpu or cuda:N; by default cuda if there")
    write = commands.add_parser("export", help="write a checkpoint as an ONNX file")
    write.add_argument("--checkpoint", type=Path, required=True)
    write.add_argument("--out", type=Path, required=True, help="the ONNX file")
    measure = commands.add_parser("evaluate", help="measure an ONNX file")
    measure.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    measure.add_argument("--model", type=Path, required=True, help="the ONNX file")
    measure.add_argument("--json", type=Path, help="write the figures here as well")
    return Parsers(parser, run, write, measure)


def run_parsed(
    options: argparse.Namespace,
    defaults: type[StepOptions],
    recipe: Callable[..., StepRecipe],
    export: Callable[[Path, Path], float],
    evaluate: Callable[[argparse.Namespace], dict[str, float]],
) -> int:
    """Run the command of a parsed command line and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.command == "train":
        names = {field.name for field in fields(defaults)}
        given = {name: value for name, value in vars(options).items() if name in names}
        machine = Machine(options.threads, options.workers, options.device)
        sys.stdout.write(f"{fit(recipe(defaults(**given)), options.out, machine)}\n")
    elif options.command == "export":
        difference = export(options.checkpoint, options.out)
        sys.stdout.write(f"{options.out}: differs from torch by at most {difference:.1e}\n")
    else:
        if options.json:
            check_own(options.json, begins_as(_FIGURES))
        figures = evaluate(options)
        for name, value in figures.items():
            sys.stdout.write(f"{name:45s} {value:.4f}\n")
        if options.json:
            with writing(options.json):
                write_whole(options.json, json.dumps(figures, indent=2) + "\n")
    return 0
