"""Command line: ``python -m training.landmarks train|export|evaluate``."""

from __future__ import annotations

from pathlib import Path

from training.command import make_parser, run_command
from training.landmarks.evaluate import evaluate
from training.landmarks.export import export
from training.landmarks.train import TrainOptions, train


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    parser, measure = make_parser("training.landmarks", __doc__, TrainOptions)
    measure.add_argument("--detector", type=Path, help="measure from this detector's boxes too")
    return run_command(
        parser.parse_args(arguments),
        TrainOptions,
        train,
        export,
        lambda options: evaluate(options.data, options.model, options.detector),
    )


if __name__ == "__main__":
    raise SystemExit(main())
