"""Command line: ``python -m training.facenet train|export|evaluate``."""

from __future__ import annotations

from training.command import make_parsers, run_command
from training.facenet.evaluate import evaluate
from training.facenet.export import export
from training.facenet.train import TrainOptions, train


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    parsers = make_parsers("training.facenet", __doc__, TrainOptions)
    parsers.evaluate.add_argument(
        "--split", choices=("evaluation", "calibration"), default="evaluation"
    )
    return run_command(
        parsers.whole.parse_args(arguments),
        TrainOptions,
        train,
        export,
        lambda options: evaluate(options.data, options.model, options.split),
    )
