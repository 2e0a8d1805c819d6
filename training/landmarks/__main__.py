"""Command line: ``python -m training.landmarks train|export|evaluate``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from training.data.errors import DataError
from training.landmarks.evaluate import evaluate
from training.landmarks.export import export
from training.landmarks.inference import SERVED_EXPAND
from training.landmarks.train import TrainOptions, train


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.landmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("train", help="train, or go on from OUT/checkpoint.pt")
    run.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    run.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    run.add_argument("--steps", type=int, default=TrainOptions.steps)
    run.add_argument("--seed", type=int, default=TrainOptions.seed)
    run.add_argument("--rate", type=float, default=TrainOptions.rate, help="peak learning rate")
    run.add_argument("--threads", type=int, default=TrainOptions.threads, help="0: torch's own")
    run.add_argument("--workers", type=int, default=TrainOptions.workers)
    write = commands.add_parser("export", help="write a checkpoint as an ONNX file")
    write.add_argument("--checkpoint", type=Path, required=True)
    write.add_argument("--out", type=Path, required=True, help="the ONNX file")
    measure = commands.add_parser("evaluate", help="measure an ONNX file")
    measure.add_argument("--data", type=Path, required=True, help="folder of the face sets")
    measure.add_argument("--model", type=Path, required=True, help="the ONNX file")
    measure.add_argument("--detector", type=Path, help="measure from this detector's boxes too")
    measure.add_argument("--expand", type=float, default=SERVED_EXPAND, help="crop side / box side")
    measure.add_argument("--threshold", type=float, default=0.3, help="the detector's coverage")
    measure.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(arguments)
    try:
        if options.command == "train":
            path = train(
                TrainOptions(
                    data=options.data,
                    out=options.out,
                    steps=options.steps,
                    seed=options.seed,
                    rate=options.rate,
                    threads=options.threads,
                    workers=options.workers,
                )
            )
            sys.stdout.write(f"{path}\n")
        elif options.command == "export":
            difference = export(options.checkpoint, options.out)
            sys.stdout.write(f"{options.out}: differs from torch by at most {difference:.1e}\n")
        else:
            figures = evaluate(
                options.data, options.model, options.detector, options.expand, options.threshold
            )
            for name, value in figures.items():
                sys.stdout.write(f"{name:45s} {value:.4f}\n")
            if options.json:
                options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
