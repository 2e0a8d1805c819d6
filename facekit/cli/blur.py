"""``facekit blur``: photos and videos in, the same with their faces made unrecognizable out."""

import argparse
import sys
from pathlib import Path
from typing import Any

from facekit import cli
from facekit.command import EXIT_FAILED
from facekit.errors import ConfigError
from facekit.text import one_line, show

_METHODS = ("pixelate", "blur", "box", "mean")  # of facekit.privacy.cover, which needs Pillow
_SHOWN = 20


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "blur",
        help="make the faces of photos and videos unrecognizable",
        description="Write photos and videos, and all below folders, with their faces covered and "
        "without metadata. Originals are never changed. What can't be read is not written; the "
        "exit code is then 1. The same command resumes an interrupted run.",
    )
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", type=cli.file_name, help="photos, videos and folders"
    )
    out_help = "folder of the covered photos, new or of an earlier run (default: %(default)s)"
    parser.add_argument(
        "--out", metavar="DIR", type=cli.file_name, default="blurred", help=out_help
    )
    _add_cover(parser)
    cli.add_model(parser, default="facenet_ensemble")
    cli.add_search(parser, default="auto")
    threshold_help = (
        "least score of a face that is covered, 0.05 to 1; a lower one misses fewer faces and "
        "covers more that are none (default: 0.15)"
    )
    parser.add_argument("--threshold", metavar="SCORE", type=cli.score, help=threshold_help)
    parser.add_argument(
        "--from",
        dest="dataset",
        metavar="FILE",
        type=cli.file_name,
        help="cover the boxes of a COCO file, or of Label Studio's JSON export, such as after "
        "corrections; PATH is then the folder of the photos, if the file does not say",
    )
    report_help = (
        "write a table of the photos, CSV, with their number of faces and lowest score, and "
        "beside it a sheet of the doubtful photos, uncovered"
    )
    parser.add_argument("--report", metavar="FILE", type=cli.file_name, help=report_help)
    cli.add_servers(parser)


def _add_cover(parser: argparse.ArgumentParser) -> None:
    how_help = "a color a block, a smooth blur of them, black, or one color (default: %(default)s)"
    parser.add_argument("--how", choices=_METHODS, default=_METHODS[0], help=how_help)
    parser.add_argument(
        "--margin",
        metavar="PART",
        type=cli.number("a number from 0 to 5", lambda value: 0 <= value <= 5),
        default=0.3,
        help="added to each side of a face's box, as a part of it (default: %(default)s)",
    )
    keep_help = (
        "classes of faces that stay, such as mask with --model facemask_ensemble; several with "
        "commas between them"
    )
    parser.add_argument("--keep", metavar="LABELS", default="", help=keep_help)
    min_size_help = "faces whose box has a side below this stay (default: none)"
    parser.add_argument(
        "--min-size", metavar="PX", type=cli.size_px, default=0.0, help=min_size_help
    )
    parser.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep camera, exposure, time, author and rights; position, thumbnail, maker notes, "
        "serial numbers and all else go",
    )


def run(args: argparse.Namespace) -> int:
    """Cover the faces, print a summary, and return 1 if a photo was not written.

    Raises FacekitError if the run can't continue; the same command resumes.
    """
    from facekit.privacy import Cover, blur_dataset, blur_photos
    from facekit.privacy.report import check_report, write_report

    labels = tuple(filter(None, map(str.strip, args.keep.split(","))))
    cover = Cover(args.how, args.margin, labels, args.min_size, args.keep_metadata)
    if args.report is not None:
        cli.check_output(args.report)
        check_report(args.report)
    out = Path(args.out)
    if args.dataset is None:
        options = _options(args, labels)
        summary = blur_photos(args.paths, out, cover, options, say=_say)
    else:
        if len(args.paths) > 1 or args.threshold is not None:
            raise ConfigError("--from takes one PATH, the folder of its photos, and no --threshold")
        folder = args.paths[0] if args.paths else None
        summary = blur_dataset(args.dataset, out, cover, photo_folder=folder, say=_say)
    if args.report is not None:
        files = write_report(args.report, summary.records, summary.photo_folder)
        show(f"report: {', '.join(map(str, files))}", sys.stderr)
    failures = summary.failures
    for record in failures[:_SHOWN]:
        show(f"facekit: {one_line(record.photo)}: {one_line(record.error)}", sys.stderr)
    if len(failures) > _SHOWN:
        show(f"facekit: and {len(failures) - _SHOWN:,} more", sys.stderr)
    show(f"{summary.text()}; in {out}")
    return EXIT_FAILED if failures else 0


def _options(args: argparse.Namespace, labels: tuple[str, ...]) -> Any:
    from facekit.annotate import Options
    from facekit.contract import CLASS_NAMES
    from facekit.detection.search import MIN_THRESHOLD
    from facekit.privacy.options import THRESHOLD

    if not args.paths:
        raise ConfigError("give photos or folders, or --from a dataset")
    known = CLASS_NAMES.get(args.model.removesuffix("_ensemble"), ())
    if unknown := [label for label in labels if label not in known]:
        raise ConfigError(f"--keep: {args.model} has no class {unknown[0]!r}")
    threshold = THRESHOLD if args.threshold is None else args.threshold
    if threshold < MIN_THRESHOLD:
        raise ConfigError(f"--threshold: expected {MIN_THRESHOLD} to 1, got {threshold}")
    # The mask detector looks at the whole upright photo alone.
    closer = None if known else "auto"
    return Options(
        urls=tuple(url for urls in args.url for url in urls),
        model=args.model,
        tiles=args.tiles or closer,
        rotations=args.rotations or closer,
        threshold=MIN_THRESHOLD,  # so that another --threshold needs no new search
        min_score=threshold,
        concurrency=args.concurrency,
        timeout_s=args.timeout,
        tls_certificate=args.tls_cert,
        server_wait_s=args.server_wait,
    )


def _say(line: str) -> None:
    show(line, sys.stderr)
