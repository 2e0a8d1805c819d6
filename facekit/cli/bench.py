"""``facekit bench``: how fast a server is, and beside what."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from facekit.bench.options import FACES, LONG_SECTIONS, PHOTO_SIZES, SECTIONS, Options

Value = TypeVar("Value")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "bench",
        help="measure throughput, latency, memory, and what they are worth",
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
        help="gRPC address of a running server, whose memory, processor time and bound then "
        "stay unknown (without: an embedded server runs meanwhile)",
    )
    parser.add_argument(
        "--beside",
        metavar="HOST:PORT",
        help="gRPC address of another running server: measure `faces` of both in turns",
    )
    parser.add_argument(
        "--photos",
        metavar="PATH",
        nargs="+",
        type=Path,
        help="photos, or folders of photos (without: mosaics of public-domain portraits)",
    )
    parser.add_argument(
        "--photo-size",
        metavar="WxH",
        nargs="+",
        type=_size,
        default=PHOTO_SIZES,
        help="sizes of the mosaics, the first for the sweep "
        f"(default: {' '.join(f'{width}x{height}' for width, height in PHOTO_SIZES)})",
    )
    parser.add_argument(
        "--faces",
        metavar="N",
        type=_positive(int),
        default=FACES,
        help="faces of a mosaic (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_positive(float),
        default=Options.seconds,
        help="length of one measurement (default: %(default)g)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="N,...",
        type=_list(_positive(int)),
        default=Options.concurrency,
        help=f"requests at a time (default: {','.join(map(str, Options.concurrency))})",
    )
    parser.add_argument(
        "--soak",
        metavar="N",
        type=_positive(int),
        default=Options.soak,
        help="requests of the memory measurement (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="SECTION,...",
        type=_list(_section),
        default=SECTIONS,
        help=f"measure only these: {', '.join(SECTIONS)}, and {', '.join(LONG_SECTIONS)}, which "
        "takes minutes and is measured only when it is named",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write all figures to FILE; - is standard output, with no tables",
    )
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw the results")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and return 0 once all was measured.

    The code does not judge the figures: a promise that is not kept, and requests that failed under
    load, stand in the tables.

    Raises:
        FacekitError: A measurement could not be made: no server, no photos, or a request failed
            that must not; or what is compared does not find the same faces.
        SetupError: A file that was asked for can't be written.
    """
    from facekit.bench.photos import mosaics, own_photos
    from facekit.bench.report import configuration_text, results_text
    from facekit.bench.run import Bench
    from facekit.progress import ProgressBar
    from facekit.serving.embedded import EmbeddedServer, default_model_repository
    from facekit.text import show

    out = sys.stderr if args.json == Path("-") else sys.stdout
    sets = [own_photos(args.photos)] if args.photos else []
    sets = sets or [mosaics(size, args.faces) for size in args.photo_size]
    options = Options(
        photo_sets=tuple(sets),
        repository=default_model_repository(),
        seconds=args.seconds,
        concurrency=args.concurrency,
        soak=args.soak,
        only=args.only,
        beside=args.beside,
    )
    with contextlib.ExitStack() as stack:
        url, pid = args.url, None
        if url is None:
            server = stack.enter_context(EmbeddedServer())
            url, pid = server.grpc_url, server.pid
        bench = stack.enter_context(contextlib.closing(Bench(url, pid, options)))
        show(configuration_text(bench.results.configuration), out)
        bar = stack.enter_context(ProgressBar(bench.steps(), "measurements"))
        results = bench.run(bar.advance)
    show(results_text(results).removesuffix("\n"), out)
    if args.json is not None:
        _write_json(args.json, results.to_dict())
    if args.plot is not None:
        from facekit.bench.plot import write_plot

        write_plot(results, args.plot)
    sys.stdout.flush()
    return 0


def _write_json(path: Path, data: dict[str, Any]) -> None:
    from facekit.errors import SetupError

    text = json.dumps(data, indent=1) + "\n"
    if path == Path("-"):
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, "utf-8")
    except OSError as e:
        raise SetupError(f"{path}: {e.strerror or e}") from e


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT of 64 or more, got {text}")
    return width, height


def _positive(kind: Callable[[str], Value]) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        try:
            value = kind(text)
        except ValueError:
            value = kind("0")
        if not value > kind("0"):  # type: ignore[operator]
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
        return value

    return parse


def _section(text: str) -> str:
    known = (*SECTIONS, *LONG_SECTIONS)
    if text not in known:
        raise argparse.ArgumentTypeError(f"no section {text!r}; there are {', '.join(known)}")
    return text


def _list(parse: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    return lambda text: tuple(parse(part) for part in text.split(","))
