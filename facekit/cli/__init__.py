"""The command ``facekit``.

Each public module of this package is the subcommand of its name, with two functions:
``add_parser(subparsers)`` declares its options, and ``run(args)`` does its work and returns the
exit status. ``run`` imports what it needs, so that ``--help`` is fast and a missing extra breaks
only the commands that need it.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import facekit
from facekit import text
from facekit.command import run_command
from facekit.errors import DataError, writing
from facekit.files import check_writable, write_whole
from facekit.limits import MAX_TIMEOUT_S
from facekit.outputs import check_own

if TYPE_CHECKING:
    from facekit.selection import FaceLimits

# The keys of `facekit.client.calls.DETECTORS`, which is slow to import.
_DETECTORS = ("faces", "facemask_ensemble", "facenet_ensemble")
_RESUME = {
    "annotate": "; the same command resumes the run",
    "blur": "; the same command resumes the run",
    "data": "; the same command completes the folder",
    "video": "; with --resume the same command goes on with a file",
}
"""What a user is told after interrupting a subcommand."""


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


def number(expected: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """Return the type of an option that is a number, such as "seconds > 0", that is accepted."""

    def parse(given: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = math.nan
        if not accepts(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {given}")
        return value

    return parse


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, within limits."""
    expected = f"a whole number >= {least}" + ("" if most is None else f" and <= {most:,}")
    highest = math.inf if most is None else most + 1
    parse = number(expected, lambda value: least <= value < highest and value % 1 == 0)

    def exact(given: str) -> int:
        value = parse(given)
        return int(given) if given.isdecimal() else int(value)  # a float has 53 bits

    return exact


def file_name(given: str) -> Path:
    """Return the path of an option, which may not be empty, as an unset variable of a script is.

    ``pathlib`` would take it for the current folder.
    """
    if not given:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(given)


positive_number = number("a number above 0", lambda value: 0 < value < math.inf)
"""Type of an option that is a number above 0."""

score = number("a number from 0 to 1", lambda value: 0 <= value <= 1)
"""Type of an option that is a score."""

timeout = number(f"seconds > 0 and <= {MAX_TIMEOUT_S:,}", lambda value: 0 < value <= MAX_TIMEOUT_S)
"""Type of an option that is a client's timeout."""


def add_server(parser: argparse.ArgumentParser, help_of_url: str, **url: Any) -> None:
    """Declare a server's address, certificate and timeout; ``url`` goes to that of ``--url``."""
    parser.add_argument("--url", metavar="HOST:PORT", help=help_of_url, **url)
    add_tls_certificate(parser)
    timeout_help = "how long one photo may take (default: %(default)g)"
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=timeout, default=30.0, help=timeout_help
    )


def add_servers(parser: argparse.ArgumentParser, *, ray: bool = False) -> None:
    """Declare the servers that share a run; ``ray`` is whether a cluster may do the work."""
    add_server(
        parser,
        "gRPC address of a running server; several, separated by commas or by repeating the "
        "option, share the work (default: an embedded server is started)",
        type=_urls,
        action="append",
        default=[],
    )
    on_ray = "; with --ray 4 a worker" if ray else ""
    concurrency_help = f"requests in flight over all servers (default: 8 a server{on_ray})"
    parser.add_argument("--concurrency", metavar="N", type=whole_number(1), help=concurrency_help)
    parser.add_argument(
        "--server-wait",
        metavar="SECONDS",
        type=number("seconds >= 0", lambda value: 0 <= value < 1e9),
        default=120.0,
        help="how long to wait while no server answers (default: %(default)g"
        + ("; with --ray at most 15 at the start)" if ray else ")"),
    )


def _urls(text: str) -> list[str]:
    urls = [url for url in map(str.strip, text.split(",")) if url]
    if not urls:  # an unset variable of a script; an embedded server would be started
        raise argparse.ArgumentTypeError("expected host:port, got an empty text")
    return urls


def add_tls_certificate(parser: argparse.ArgumentParser) -> None:
    """Declare the option that trusts an encrypted server's certificate."""
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=os.environ.get("FACEKIT_TLS_CERT") or None,
        metavar="FILE",
        help="the server's PEM certificate: the connection is encrypted, and this certificate is "
        "trusted whatever its name (also FACEKIT_TLS_CERT)",
    )


size_px = number("pixels >= 0", lambda value: 0 <= value < math.inf)
"""Type of an option that is a length in pixels."""


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare the options that leave out faces of a low score, small ones and blurred ones."""
    min_score_help = "leave out faces of a lower score, 0 to 1 (default: none)"
    parser.add_argument(
        "--min-score", metavar="SCORE", type=score, default=0.0, help=min_score_help
    )
    min_size_help = "leave out faces whose box has a side below this (default: none)"
    parser.add_argument("--min-size", metavar="PX", type=size_px, default=0.0, help=min_size_help)
    sharpness_help = (
        "leave out faces that are less sharp, 0 to 1; sharp portraits have 0.35 to 0.55 "
        "(default: none)"
    )
    parser.add_argument(
        "--min-sharpness", metavar="S", type=score, default=0.0, help=sharpness_help
    )


def limits_of(args: argparse.Namespace) -> FaceLimits:
    """Return the limits that the options of :func:`add_limits` set."""
    from facekit.selection import FaceLimits

    return FaceLimits(args.min_score, args.min_size, args.min_sharpness)


def add_model(parser: argparse.ArgumentParser, default: str = _DETECTORS[0]) -> None:
    """Declare the option that chooses the model."""
    model_help = (
        "what to find: boxes and landmarks (faces), who wears a mask (facemask_ensemble), or only "
        "boxes (facenet_ensemble) (default: %(default)s)"
    )
    parser.add_argument("--model", choices=_DETECTORS, default=default, help=model_help)


def add_search(parser: argparse.ArgumentParser, default: str = "off") -> None:
    """Declare the options for faces that the whole upright photo does not show.

    ``default`` is what a value of None stands for.
    """
    parser.add_argument(
        "--tiles",
        metavar="off|auto|N",
        help="look for small faces in tiles of the photo: auto, where they are likely, or at most "
        f"N tiles, 2 to 64 (default: {default})",
    )
    parser.add_argument(
        "--rotations",
        metavar="off|auto|DEGREES",
        help="look for faces that do not stand upright: auto, where little is found upright, or "
        "those turned clockwise by 90, 180 or 270, with commas between them "
        f"(default: {default})",
    )


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Declare a dataset to read, and the option for the folder of its photos."""
    parser.add_argument("dataset", metavar="IN.json", type=Path, help="the COCO file to read")
    photos_help = (
        "folder that its file names are relative to (default: the one that the dataset "
        "names, else its own)"
    )
    parser.add_argument("--photos", metavar="DIR", type=Path, help=photos_help)


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the option that writes ``what`` into a file, or to standard output."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help=f"write {what} to FILE, whose folders are created; - is standard output, without a "
        "table",
    )


def print_results(table: str, json_text: Callable[[], str], path: Path | None) -> None:
    """Print a table, and write the JSON of ``--json``; with - only the JSON is printed."""
    if path == Path("-"):
        text.show(json_text())
        return
    text.show(table)
    if path is not None:
        with writing(path):
            write_whole(path, json_text() + "\n")


def check_output(
    path: Path, is_ours: Callable[[Path], bool] | None = None, inputs: Iterable[Path | str] = ()
) -> None:
    """Check before long work that its output file can be written; - is standard output.

    ``is_ours`` tells whether a file that exists may be replaced, as for
    :func:`facekit.outputs.check_own`; None where the command checks this itself. Raises DataError
    if it is a folder, can't be written, is an input, or is not a file of facekit.
    """
    if path == Path("-"):
        return
    if path.is_dir():
        raise DataError(path, "is a folder; give the name of a file")
    with writing(path):
        check_writable(path)
    if is_ours is not None:
        check_own(path, is_ours, inputs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    args = build_parser().parse_args(argv)
    stopped = _RESUME.get(args.command, "")
    return run_command(lambda: args.run(args), "facekit", extra=args.command, when_stopped=stopped)
