"""The command line of the recipes counted in steps: ``train``, ``export`` and ``evaluate``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from facekit.errors import writing
from facekit.files import write_whole
from training.arguments import positive, positive_number, whole_number
from training.loop import Machine, fit
from training.steps import StepOptions, StepRecipe


@dataclass(frozen=True)
class Parsers:
    """The parser of ``python -m NAME`` and those of two of its commands, to add options to."""

    whole: argparse.ArgumentParser
    train: argparse.ArgumentParser
    evaluate: argparse.ArgumentParser


def make_parsers(name: str, description: str | None, defaults: type[StepOptions]) -> Parsers:
    """Return the parsers with the options that both trainers have."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("train", help="train, or go on from OUT/checkpoint.pt")
    run.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    run.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    run.add_argument("--steps", type=positive, default=defaults.steps)
    run.add_argument("--seed", type=whole_number, default=defaults.seed)
    run.add_argument(
        "--rate", type=positive_number, default=defaults.rate, help="peak learning rate"
    )
    run.add_argument("--threads", type=whole_number, default=1, help="0: torch's own")
    run.add_argument("--workers", type=whole_number, default=1, help="processes")
    run.add_argument("--device", help="cpu or cuda:N; by default cuda if there")
    write = commands.add_parser("export", help="write a checkpoint as an ONNX file")
    write.add_argument("--checkpoint", type=Path, required=True)
    write.add_argument("--out", type=Path, required=True, help="the ONNX file")
    measure = commands.add_parser("evaluate", help="measure an ONNX file")
    measure.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    measure.add_argument("--model", type=Path, required=True, help="the ONNX file")
    measure.add_argument("--json", type=Path, help="write the figures here as well")
    return Parsers(parser, run, measure)


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
        figures = evaluate(options)
        for name, value in figures.items():
            sys.stdout.write(f"{name:45s} {value:.4f}\n")
        if options.json:
            with writing(options.json):
                write_whole(options.json, json.dumps(figures, indent=2) + "\n")
    return 0
