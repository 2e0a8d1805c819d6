"""``facekit detect``: find the faces and landmarks in photos."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facekit.cli import (
    add_json,
    add_min_score,
    add_model,
    add_server,
    check_output,
    file_name,
    print_results,
)


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "detect",
        help="find the faces and landmarks in photos, or who wears a mask",
        description="Find the faces and landmarks in photos, and print a table. A photo that "
        "can't be used is reported and does not stop the others; the exit code is then 1.",
    )
    parser.add_argument(
        "photos", metavar="PHOTO", nargs="+", type=file_name, help="a photo, or a folder of photos"
    )
    add_server(parser, "gRPC address of a running server (default: an embedded one is started)")
    add_model(parser)
    add_json(parser, "what was found")
    parser.add_argument(
        "--draw", metavar="DIR", type=Path, help="write the annotated pictures into DIR"
    )
    add_min_score(parser)


def run(args: argparse.Namespace) -> int:
    """Detect, write the requested outputs, and return 1 if a photo failed."""
    from facekit.report import PhotoResult, is_our_json, results_table, to_json
    from facekit.runs import Drawings, connect, detect_all, find_photos

    photos = find_photos(args.photos)
    if args.json is not None:
        check_output(args.json, is_our_json, (each for each in photos if isinstance(each, Path)))
    drawings = Drawings(args.draw, photos) if args.draw is not None else None
    results = [each for each in photos if isinstance(each, PhotoResult)]
    if len(results) < len(photos):
        with connect(args.url, timeout_s=args.timeout, tls_certificate=args.tls_cert) as client:
            answers = detect_all(client, photos, min_score=args.min_score, model=args.model)
            results = [each if drawings is None else drawings.add(each) for each in answers]
    print_results(results_table(results), lambda: to_json(results), args.json)
    return int(any(result.failed for result in results))
