"""``facekit bench``: the options of the benchmarks, which are beside the package in the clone."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from facekit.cli import add_json, positive_number, whole_number

Value = TypeVar("Value")

SECTIONS = (
    "throughput",
    "bound",
    "beside",
    "seed",
    "postprocess",
    "batching",
    "annotate",
    "memory",
)
LONG_SECTIONS = ("folder_memory",)
"""Take minutes, so they are measured only when they are named."""

_PHOTO_SIZES = ((1280, 720), (1920, 1080), (4032, 3024))
_CONCURRENCY = (1, 2, 4, 8, 16)
_CLONE = Path(__file__).resolve().parents[2]


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "bench",
        help="measure throughput, latency and memory, and compare them with other ways",
        description="Print the configuration, then measure: throughput and latency of each "
        "ensemble and of `faces`, with the time of every step; the server beside the same work "
        "with no server (bound); `faces` beside one call a face (seed); the post-processing beside "
        "scikit-learn; decoding in batches of one shape beside ragged ones (batching); `annotate` "
        "over a folder beside the notebook's loop; and the server's memory under load. Everything "
        "else on the machine should rest meanwhile.",
    )
    parser.add_argument(
        "--url",
        metavar="HOST:PORT",
        help="gRPC address of a running server, whose memory, processor time and bound are then "
        "not measured (default: an embedded server is started)",
    )
    beside_help = "gRPC address of another running server: measure `faces` of both in turns"
    parser.add_argument("--beside", metavar="HOST:PORT", help=beside_help)
    photos_help = "photos, or folders of photos (default: mosaics of public-domain portraits)"
    parser.add_argument("--photos", metavar="PATH", nargs="+", type=Path, help=photos_help)
    parser.add_argument(
        "--photo-size",
        metavar="WxH",
        nargs="+",
        type=_size,
        default=_PHOTO_SIZES,
        help="sizes of the mosaics, the first for the sweep "
        f"(default: {' '.join(f'{width}x{height}' for width, height in _PHOTO_SIZES)})",
    )
    faces_help = "faces of a mosaic (default: %(default)s)"
    parser.add_argument("--faces", metavar="N", type=whole_number(1), default=8, help=faces_help)
    seconds_help = "length of one measurement (default: %(default)g)"
    parser.add_argument(
        "--seconds", metavar="S", type=positive_number, default=3.0, help=seconds_help
    )
    parser.add_argument(
        "--concurrency",
        metavar="N,...",
        type=_list(whole_number(1)),
        default=_CONCURRENCY,
        help=f"requests at a time (default: {','.join(map(str, _CONCURRENCY))})",
    )
    soak_help = "requests of the memory measurement (default: %(default)s)"
    parser.add_argument("--soak", metavar="N", type=whole_number(1), default=5000, help=soak_help)
    parser.add_argument(
        "--only",
        metavar="SECTION,...",
        type=_list(_section),
        default=SECTIONS,
        help=f"measure only these: {', '.join(SECTIONS)}, and {', '.join(LONG_SECTIONS)}, which "
        "takes minutes and is measured only when it is named",
    )
    add_json(parser, "all figures")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="plot the results")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return 0 whatever the figures are; an error if one can't be measured."""
    from facekit.errors import SetupError

    if not (_CLONE / "benchmarks" / "run.py").is_file():
        raise SetupError(
            "the benchmarks are not installed with the package: run scripts/setup in a clone of "
            "the repository, and .venv/bin/facekit bench there"
        )
    sys.path.insert(0, str(_CLONE))
    code: int = importlib.import_module("benchmarks.run").run(args)
    return code


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT of 64 or more, got {text}")
    return width, height


def _section(text: str) -> str:
    known = (*SECTIONS, *LONG_SECTIONS)
    if text not in known:
        raise argparse.ArgumentTypeError(f"no section {text!r}; expected one of {', '.join(known)}")
    return text


def _list(parse: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    return lambda text: tuple(parse(part) for part in text.split(","))
