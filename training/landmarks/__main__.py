"""Command line: ``python -m training.landmarks train|export|evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path

from facekit.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_command(lambda: _main(arguments), "training.landmarks", extra="train")


def _main(arguments: list[str] | None) -> int:
    # A library that is missing is named by run_command.
    from facekit.landmarks.scheme import POINT_COUNTS
    from training.landmarks.evaluate import evaluate
    from training.landmarks.losses import POINT_LOSSES
    from training.landmarks.recipe import LandmarkOptions, LandmarkRecipe, export
    from training.steps import make_parsers, run_parsed

    parsers = make_parsers("training.landmarks", __doc__, LandmarkOptions)
    parsers.train.add_argument(
        "--points",
        type=int,
        choices=POINT_COUNTS,
        default=LandmarkOptions.points,
        help="how many points; a face that has fewer is trained on what it has",
    )
    parsers.train.add_argument("--loss", choices=POINT_LOSSES, default=LandmarkOptions.loss)
    parsers.evaluate.add_argument(
        "--detector", type=Path, help="measure from this detector's boxes too"
    )
    return run_parsed(
        parsers.whole.parse_args(arguments),
        LandmarkOptions,
        LandmarkRecipe,
        export,
        lambda options: evaluate(options.data, options.model, options.detector),
    )


if __name__ == "__main__":
    sys.exit(main())
