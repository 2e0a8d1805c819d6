"""Command line: ``python -m training.facenet train|export|evaluate``."""

from __future__ import annotations

import sys
from pathlib import Path

from facekit.command import run_command
from facekit.outputs import check_own, is_our_picture


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_command(lambda: _main(arguments), "training.facenet", extra="train")


def _main(arguments: list[str] | None) -> int:
    # A library that is missing is named by run_command.
    from facekit.evaluation.plot import check_suffix
    from training.facenet.evaluate import evaluate
    from training.facenet.export import export
    from training.facenet.recipe import FaceOptions, FaceRecipe
    from training.steps import make_parsers, run_parsed

    parsers = make_parsers("training.facenet", __doc__, FaceOptions)
    parsers.train.add_argument(
        "--cache", type=Path, help="folder of the decoded photos; by default OUT/photos"
    )
    parsers.train.add_argument(
        "--start", type=Path, metavar="WEIGHTS", help="begin with the weights of a .npz file"
    )
    parsers.train.add_argument(
        "--classes",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="NAME,NAME",
        help="tell these classes of faces apart, such as mask,no-mask",
    )
    parsers.export.add_argument(
        "--cache", type=Path, help="calibrate the scores on these decoded photos"
    )
    parsers.export.add_argument(
        "--int8", type=Path, metavar="PHOTOS", help="round to 8 bits by the photos of a folder"
    )
    parsers.evaluate.add_argument(
        "--split", choices=("evaluation", "calibration"), default="evaluation"
    )
    parsers.evaluate.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw here how reliable the scores are"
    )
    options = parsers.whole.parse_args(arguments)
    if getattr(options, "plot", None):
        check_suffix(options.plot)
        check_own(options.plot, is_our_picture)
    return run_parsed(
        options,
        FaceOptions,
        FaceRecipe,
        lambda trained, out: export(trained, out, options.cache, options.int8),
        lambda given: evaluate(given.data, given.model, given.split, given.plot),
    )


if __name__ == "__main__":
    sys.exit(main())
