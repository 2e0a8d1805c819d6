"""Command line: ``python -m training.landmarks train|export|evaluate``."""

from __future__ import annotations

from pathlib import Path

from facekit.landmarks.scheme import POINT_COUNTS
from training.command import make_parsers, run_command
from training.landmarks.evaluate import evaluate
from training.landmarks.export import export
from training.landmarks.losses import POINT_LOSSES
from training.landmarks.train import TrainOptions, train


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    parsers = make_parsers("training.landmarks", __doc__, TrainOptions)
    parsers.train.add_argument(
        "--points",
        type=int,
        choices=POINT_COUNTS,
        default=TrainOptions.points,
        help="how many points; a face that has fewer is trained on what it has",
    )
    parsers.train.add_argument("--loss", choices=POINT_LOSSES, default=TrainOptions.loss)
    parsers.evaluate.add_argument(
        "--detector", type=Path, help="measure from this detector's boxes too"
    )
    return run_command(
        parsers.whole.parse_args(arguments),
        TrainOptions,
        train,
        export,
        lambda options: evaluate(options.data, options.model, options.detector),
    )
