"""``facekit show``: draw a dataset as a picture."""

import argparse
from pathlib import Path
from typing import Any

from facekit.cli import add_dataset, check_output, whole_number
from facekit.errors import ConfigError, writing
from facekit.files import write_whole
from facekit.outputs import is_our_picture, picture_bytes
from facekit.progress import ProgressBar
from facekit.text import show

# Those of `facekit.sheet.pick`, which needs Pillow.
_PICKS = ("mixture", "spread", "most-faces", "rotation", "lowest-score", "sharpest", "failures")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_MOST_PHOTOS = 1000
_LONGEST_JPEG_PX = 65_500


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "show",
        help="draw a dataset's photos and faces as one picture",
        description="Draw a contact sheet of selected photos, with their boxes, scores and "
        "landmarks, or one photo at full size.",
    )
    add_dataset(parser)
    out_help = "the picture, .png or .jpg; `annotate` skips *.faces.png and .jpg"
    parser.add_argument("--out", metavar="FILE", type=_picture, required=True, help=out_help)
    parser.add_argument(
        "--photo", metavar="NAME", help="draw only this photo, at full size; its path or its end"
    )
    pick_help = (
        "which photos: a mixture (the default), evenly spread over the dataset, with the most "
        "faces, with the largest rotation, with the lowest score, with the sharpest faces, or "
        "failed ones"
    )
    parser.add_argument("--pick", choices=_PICKS, default=_PICKS[0], help=pick_help)
    pose_help = "draw the axes of each head, see docs/folders.md"
    parser.add_argument("--pose", action="store_true", help=pose_help)
    count = whole_number(1, _MOST_PHOTOS)
    parser.add_argument(
        "--count", metavar="N", type=count, default=12, help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--columns", metavar="K", type=count, help="photos in a row (default: by their number)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the picture and write it."""
    from facekit.sheet import show_dataset, show_photo

    if args.out.is_file():
        _keep_photos(args)
    check_output(args.out, is_our_picture, [args.dataset])
    if args.photo is not None:
        picture = show_photo(args.dataset, args.photo, args.photos, pose=args.pose)
    else:
        with ProgressBar(args.count, "photos") as bar:
            picture = show_dataset(
                args.dataset,
                args.photos,
                how=args.pick,
                count_of_photos=args.count,
                columns=args.columns,
                pose=args.pose,
                bar=bar,
            )
    if args.out.suffix.lower() != ".png" and max(picture.size) > _LONGEST_JPEG_PX:
        raise ConfigError(
            f"{args.out}: no JPEG can hold {picture.width} x {picture.height} pixels; give a name "
            "that ends in .png"
        )
    with writing(args.out):
        write_whole(args.out, picture_bytes(picture, args.out.suffix))
    show(f"{args.out}: {picture.width} x {picture.height} pixels")
    return 0


def _keep_photos(args: argparse.Namespace) -> None:
    """Check that the picture does not overwrite a photo of the dataset."""
    from facekit.annotations import read_dataset

    dataset = read_dataset(args.dataset, args.photos)
    folder = Path(dataset.info.photo_folder)
    for photo in dataset.photos:
        path = folder / photo.record.photo
        if path.name == args.out.name and path.exists() and path.samefile(args.out):
            raise ConfigError(f"{args.out}: is a photo of the dataset; give another name")


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in _SUFFIXES:
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png or .jpg, got {text}")
    return path
