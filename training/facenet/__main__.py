"""Command line: ``python -m training.facenet train|export|evaluate``."""

from __future__ import annotations

import sys

from facekit.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_command(lambda: _main(arguments), "training.facenet", extra="train")


def _main(arguments: list[str] | None) -> int:
    # A library that is missing is named by run_command.
    from training.facenet.evaluate import evaluate
    from training.facenet.recipe import FaceOptions, FaceRecipe, export
    from training.steps import make_parsers, run_parsed

    parsers = make_parsers("training.facenet", __doc__, FaceOptions)
    parsers.evaluate.add_argument(
        "--split", choices=("evaluation", "calibration"), default="evaluation"
    )
    return run_parsed(
        parsers.whole.parse_args(arguments),
        FaceOptions,
        FaceRecipe,
        export,
        lambda options: evaluate(options.data, options.model, options.split),
    )


if __name__ == "__main__":
    sys.exit(main())
