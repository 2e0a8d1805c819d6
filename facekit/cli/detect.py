"""``facekit detect``: find the faces and landmarks in photos."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from facekit.cli import (
    add_limits,
    add_model,
    add_search,
    add_server,
    check_output,
    file_name,
    limits_of,
    print_results,
)
from facekit.errors import ConfigError
from facekit.text import show


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "detect",
        help="find the faces and landmarks in photos, or who wears a mask",
        description="Find the faces and landmarks in photos, and print a table. A photo that "
        "can't be used is reported and does not stop the others; the exit code is then 1.",
    )
    parser.add_argument(
        "photos",
        metavar="PHOTO",
        nargs="+",
        type=_photo,
        help="a photo, a folder of photos, or - for a photo on standard input",
    )
    add_server(parser, "gRPC address of a running server (default: an embedded one is started)")
    add_model(parser)
    add_search(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write what was found to FILE, whose folders are created; with - a line of JSON a "
        "photo goes to standard output as soon as it is found, without a table",
    )
    parser.add_argument(
        "--draw", metavar="DIR", type=Path, help="write the annotated pictures into DIR"
    )
    parser.add_argument(
        "--draw-pose",
        action="store_true",
        help="with --draw: also the axes of each head, as docs/folders.md explains them",
    )
    parser.add_argument(
        "--crop",
        metavar="DIR",
        type=Path,
        help="write each face into DIR, a new folder, an empty one or one of crops",
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Detect, write the requested outputs, and return 1 if a photo failed."""
    from facekit.report import PhotoResult, is_our_json, results_table, to_json
    from facekit.runs import Crops, Drawings, connect, detect_all, find_photos

    if args.draw_pose and args.draw is None:
        raise ConfigError("--draw-pose goes with --draw")
    photos = find_photos(args.photos)
    if args.json is not None:
        check_output(args.json, is_our_json, (each for each in photos if isinstance(each, Path)))
    writers: list[Drawings | Crops] = []
    if args.draw is not None:
        writers.append(Drawings(args.draw, photos, pose=args.draw_pose))
    if args.crop is not None:
        writers.append(Crops(args.crop))
    lines = args.json == Path("-")
    results: list[PhotoResult] = []
    failed = False

    def add(result: PhotoResult) -> None:
        nonlocal failed
        for writer in writers:
            result = writer.add(result)
        failed |= result.failed
        if lines:
            show(json.dumps(result.to_dict()))
            sys.stdout.flush()
        else:
            results.append(result)

    if any(isinstance(each, Path) for each in photos):
        with connect(args.url, timeout_s=args.timeout, tls_certificate=args.tls_cert) as client:
            how = {"model": args.model, "tiles": args.tiles, "rotations": args.rotations}
            for result in detect_all(client, photos, keep=limits_of(args), **how):
                add(result)
    else:
        for each in photos:
            if isinstance(each, PhotoResult):
                add(each)
    if not lines:
        print_results(results_table(results), lambda: to_json(results), args.json)
    return int(failed)


def _photo(given: str) -> Path:
    from facekit.runs import STDIN

    return STDIN if given == "-" else file_name(given)
