"""The command ``facekit``.

Each public module of this package is one subcommand, named like the module, with two functions:
``add_parser(subparsers)`` declares its options, and ``run(args)`` does its work and returns the
exit code. What a subcommand needs is imported in ``run``, so that ``--help`` is there at once and a
missing extra breaks only the commands that need it.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path

import facekit
from facekit.command import run_command
from facekit.errors import DataError, writing
from facekit.files import check_writable

# Those of `facekit.client.calls.DETECTORS`, which takes long to import.
_DETECTORS = ("faces", "facemask_ensemble", "facenet_ensemble")
_RESUME = {
    "annotate": "; the same command goes on where it stopped",
    "data": "; the same command again makes the folder whole",
}
"""What a user is told who stopped a subcommand in the middle."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="facekit", description="Faces and landmarks in photos, served by Triton and DALI."
    )
    parser.add_argument("--version", action="version", version=f"facekit {facekit.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if not module.name.startswith("_"):
            command = importlib.import_module(f"{__name__}.{module.name}")
            command.add_parser(subparsers)
            subparsers.choices[module.name].set_defaults(run=command.run)
    return parser


def number(text: str, expected: str, accepts: Callable[[float], bool]) -> float:
    """Return an option's number.

    Raises:
        argparse.ArgumentTypeError: It is not a number that is accepted; says what was expected.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not accepts(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, within limits."""
    expected = f"a whole number >= {least}" + ("" if most is None else f" and <= {most:,}")

    def fits(value: float) -> bool:
        return least <= value < math.inf and value % 1 == 0 and (most is None or value <= most)

    def parse(text: str) -> int:
        value = number(text, expected, fits)
        return int(text) if text.isdecimal() else int(value)  # a float has 53 bits

    return parse


def positive_number(text: str) -> float:
    """Return an option's number above 0.

    Raises:
        argparse.ArgumentTypeError: It is not a number above 0, or infinite.
    """
    return number(text, "a number above 0", lambda value: 0 < value < math.inf)


def score(text: str) -> float:
    """Return an option's score.

    Raises:
        argparse.ArgumentTypeError: It is not a number from 0 to 1.
    """
    return number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def timeout(text: str) -> float:
    """Return the seconds of an option ``--timeout``, within the client's own limits.

    Raises:
        argparse.ArgumentTypeError: It is not a number above 0, or over the limit.
    """
    from facekit.client.connection import MAX_TIMEOUT_S

    expected = f"seconds > 0 and <= {MAX_TIMEOUT_S:,}"
    return number(text, expected, lambda value: 0 < value <= MAX_TIMEOUT_S)


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare the option for the time that one photo may take."""
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=timeout,
        default=30.0,
        help="how long one photo may take (default: %(default)g)",
    )


def add_min_score(parser: argparse.ArgumentParser) -> None:
    """Declare the option that leaves out faces of a low score."""
    parser.add_argument(
        "--min-score",
        metavar="SCORE",
        type=score,
        default=0.0,
        help="leave out faces of a lower score, 0 to 1 (default: none)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare the option that chooses what is found."""
    parser.add_argument(
        "--model",
        choices=_DETECTORS,
        default=_DETECTORS[0],
        help="what to find: boxes and landmarks (faces, the default), who wears a mask "
        "(facemask_ensemble), or boxes alone (facenet_ensemble)",
    )


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Declare a dataset to read, and the option for the folder of its photos."""
    parser.add_argument("dataset", metavar="IN.json", type=Path, help="the COCO file to read")
    parser.add_argument(
        "--photos",
        metavar="DIR",
        type=Path,
        help="folder that its file names count from (default: the one that the dataset names, "
        "else its own)",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the option that writes ``what`` into a file, or to standard output."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help=f"write {what} to FILE, in folders that are made if need be; - is standard output, "
        "with no table",
    )


def check_output(path: Path) -> None:
    """Check before long work that a file can be written after it; - is standard output.

    Raises:
        DataError: It is a folder, or cannot be written.
    """
    if path == Path("-"):
        return
    if path.is_dir():
        raise DataError(path, "is a folder; give the name of a file")
    with writing(path):
        check_writable(path)


def add_tls_certificate(parser: argparse.ArgumentParser) -> None:
    """Declare the option that trusts an encrypted server's certificate."""
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=os.environ.get("FACEKIT_TLS_CERT") or None,
        metavar="FILE",
        help=(
            "the server's PEM certificate: the connection is encrypted, and this certificate is "
            "trusted whatever name it carries (also FACEKIT_TLS_CERT)"
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    args = build_parser().parse_args(argv)
    stopped = _RESUME.get(args.command, "")
    return run_command(lambda: args.run(args), "facekit", extra=args.command, when_stopped=stopped)
