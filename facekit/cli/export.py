"""``facekit export``: write a COCO file of faces in the formats of other tools."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.cli import add_dataset, add_limits, limits_of
from facekit.errors import ConfigError
from facekit.files import followed
from facekit.text import count, show

if TYPE_CHECKING:
    from facekit.annotations import NumberedPhoto
    from facekit.annotations.output import Format

_FORMATS: tuple[tuple[Format, str], ...] = (
    # option, what it writes
    ("coco", "a COCO keypoints file"),
    ("jsonl", "JSON Lines, a photo a line"),
    ("parquet", "a Parquet file, a photo a row (needs pyarrow)"),
    ("label-studio", "tasks with predictions for Label Studio, and NAME.config.xml beside them"),
    ("fiftyone", "the labels_path of a COCODetectionDataset for FiftyOne"),
)


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "export",
        help="write a COCO file of faces in other formats",
        description="Read a COCO file of faces, this kit's or another's, also one with boxes as "
        "left, top, right, bottom, and write it in one or more formats. A file that facekit wrote "
        "is replaced when the new one is complete; any other file is an error.",
    )
    add_dataset(parser)
    parser.add_argument(
        "--boxes",
        choices=("xywh", "ltrb"),
        help="format of the boxes of IN.json: x, y, width, height, or left, top, right, bottom "
        "(default: detected; required where this is impossible)",
    )
    for option, text in _FORMATS:
        parser.add_argument(f"--{option}", type=Path, metavar="OUT", help=f"write {text}")
    parser.add_argument(
        "--seed-fields",
        action="store_true",
        help="with --coco: also channels, rotation, center, and the points as segmentation",
    )
    parser.add_argument(
        "--image-url",
        metavar="PREFIX",
        help="with --label-studio: prefix of the photos' addresses, such as "
        "https://photos.example.org/ (default: Label Studio's local files, with the parent of the "
        "photo folder as its document root)",
    )
    add_limits(parser)


def run(args: argparse.Namespace) -> int:
    """Read the file, write every requested format, and print a summary."""
    import facekit.annotations as annotations
    from facekit.annotations.output import check_replaceable

    outputs = _outputs(args)
    for kind, path in outputs.items():
        if path.exists() and args.dataset.exists() and path.samefile(args.dataset):
            raise ConfigError(f"{path}: is the file that is read; give another name")
        check_replaceable(path, kind)
    dataset = annotations.read_dataset(args.dataset, args.photos, boxes=args.boxes)

    limits = limits_of(args)

    def photos() -> Iterator[NumberedPhoto]:
        for photo in dataset.photos:
            yield replace(photo, record=photo.record.within(limits))

    own = {"coco": {"seed_fields": args.seed_fields}, "label-studio": {"image_url": args.image_url}}
    for kind, path in outputs.items():
        annotations.WRITERS[kind](path, photos, dataset.info, **own.get(kind, {}))
    faces = sum(len(photo.record.faces or ()) for photo in photos())
    written = ", ".join(str(path) for path in outputs.values())
    show(f"{count(faces, 'face')} in {count(len(dataset.photos), 'photo')}: {written}", sys.stderr)
    return 0


def _outputs(args: argparse.Namespace) -> dict[Format, Path]:
    """Return the files to write by their options."""
    names = [option for option, _ in _FORMATS]
    paths = {option: getattr(args, option.replace("-", "_")) for option in names}
    outputs = {option: path for option, path in paths.items() if path is not None}
    if not outputs:
        raise ConfigError(f"nothing to write: give one of {', '.join(f'--{n}' for n in names)}")
    if len({followed(path) for path in outputs.values()}) < len(outputs):
        raise ConfigError("two formats can't be written to one file")
    for option, needs in (("seed_fields", "coco"), ("image_url", "label-studio")):
        if getattr(args, option) and needs not in outputs:
            raise ConfigError(f"--{option.replace('_', '-')} goes with --{needs}")
    return outputs
