"""``facekit align``: write every face of a dataset as a file, upright and at one size."""

import argparse
import sys
from pathlib import Path
from typing import Any

from facekit.cli import add_dataset, add_limits, number, whole_number
from facekit.errors import ConfigError, DataError
from facekit.progress import ProgressBar
from facekit.text import count, one_line, show

_SHOWN = 20


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "align",
        help="cut out a dataset's faces, upright by their eyes and at one size",
        description="Write each face of a dataset as a square picture in which its eye line is "
        "level and its eyes are at the same position, and chips.jsonl with the photo, face, "
        "score, rotation and affine map of each. A face whose eyes coincide and a photo that "
        "can't be read are reported and skipped; the exit code is then 1.",
    )
    add_dataset(parser)
    out_help = "folder of the chips: new, empty, or with older chips, which are replaced"
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=out_help)
    template_help = (
        "where the face goes: the whole face, its eyes level (eyes, the default), or eyes, nose "
        "and mouth at the places that ArcFace and most embedding networks expect"
    )
    parser.add_argument(
        "--template", choices=("eyes", "arcface112"), default="eyes", help=template_help
    )
    whole = whole_number(0)
    parser.add_argument(
        "--size", metavar="PX", type=whole, help="side (default: 256; 112 with arcface112)"
    )
    margin_help = (
        "with eyes: on each side of the landmarks' square, as a part of its side (default: 0.3)"
    )
    parser.add_argument("--margin", metavar="PART", type=float, help=margin_help)
    parser.add_argument(
        "--format", choices=("jpg", "png"), default="jpg", help="default: %(default)s"
    )
    add_limits(parser)
    parser.add_argument(
        "--max-yaw",
        metavar="DEGREES",
        type=number("degrees from 0 to 180", lambda value: 0 <= value <= 180),
        default=180.0,
        help="leave out faces that turn farther to either side (default: none)",
    )
    jobs_help = "photos processed at a time (default: the number of processors)"
    parser.add_argument("--jobs", metavar="N", type=whole, default=0, help=jobs_help)


def run(args: argparse.Namespace) -> int:
    """Write the chips, print what was skipped, and return 1 if anything was."""
    from facekit.annotations import read_dataset
    from facekit.annotations.dataset import check_photo_folder
    from facekit.chips import ChipOptions, align_faces
    from facekit.chips.geometry import MARGIN, TEMPLATE_SIZES
    from facekit.chips.run import SKIPPED
    from facekit.landmarks.eyes import has_eyes

    if args.margin is not None and args.template != "eyes":
        raise ConfigError("--margin goes with --template eyes")
    options = ChipOptions(
        size=TEMPLATE_SIZES[args.template] if args.size is None else args.size,
        margin=MARGIN if args.margin is None else args.margin,
        format=args.format,
        min_score=args.min_score,
        min_size=args.min_size,
        jobs=args.jobs,
        template=args.template,
        min_sharpness=args.min_sharpness,
        max_yaw_deg=args.max_yaw,
    )
    dataset = read_dataset(args.dataset, args.photos)
    found = [photo.record.faces for photo in dataset.photos if photo.record.faces]
    if found and not any(has_eyes(faces.points_xy.shape[1]) for faces in found):
        raise DataError(
            args.dataset,
            "its faces have no landmarks of eyes, such as those of `facekit annotate` with the "
            "model faces: they can't be turned upright",
        )
    folder = Path(dataset.info.photo_folder)
    check_photo_folder(folder, (each.record.photo for each in dataset.photos if each.record.faces))
    with ProgressBar(len(dataset.photos), "photos") as bar:
        records = (photo.record for photo in dataset.photos)
        summary = align_faces(records, folder, args.out, options, bar=bar)
    for each in summary.skipped[:_SHOWN]:
        show(f"facekit: {one_line(str(each))}", sys.stderr)
    if len(summary.skipped) > _SHOWN:
        rest = len(summary.skipped) - _SHOWN
        show(f"facekit: and {rest:,} more, all in {args.out / SKIPPED}", sys.stderr)
    line = f"{count(summary.chips, 'chip')} of {count(summary.photos, 'photo')} in {args.out}"
    if summary.skipped:
        line += f"; {len(summary.skipped):,} left out"
    show(line)
    return int(bool(summary.skipped))
