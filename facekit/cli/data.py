"""``facekit data``: public face sets into KITTI folders to train on."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facekit.cli import whole_number
from facekit.errors import ConfigError, DataError, writing
from facekit.files import write_whole
from facekit.outputs import check_own, is_our_picture, picture_bytes
from facekit.text import count, show

_MOST_WORKERS = 8
_MOST_PIXELS = 8192
_SETS = (
    # option, name in facekit.datasets.run.face_sets, help
    ("--kaggle-dataset-path", "kaggle", "Kaggle's Medical Masks: images, labels"),
    (
        "--mask-detection-path",
        "mask_detection",
        "Kaggle's Face Mask Detection: images, annotations",
    ),
    ("--mafa-dataset-path", "mafa", "MAFA: MAFA-Label-Train, train-images, and the same of Test"),
    ("--portraits-path", "portraits", "300-W photos and .pts files: faces without a mask"),
    ("--fddb-dataset-path", "fddb", "FDDB: FDDB-folds, 2002, 2003"),
    ("--widerface-dataset-path", "wider", "WIDER FACE: wider_face_split, WIDER_train, WIDER_val"),
    ("--empty-path", "empty", "photos without any face"),
)


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "data",
        help="convert public face sets into KITTI folders to train on",
        description="Convert public face sets into OUT/train or OUT/test, each with folders "
        "images and labels, and print the numbers of faces with and without a mask. A photo or "
        "face that can't be used is reported, skipped, and does not stop the others; the exit "
        "code is then 1. Repeating the command changes nothing.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--train", action="store_true", help="convert the training parts")
    what.add_argument(
        "--val",
        action="store_true",
        help="convert the evaluation parts: MAFA's test part, WIDER FACE's part val, and one in "
        "seven photos of Face Mask Detection, which --train skips; the other sets have none",
    )
    what.add_argument(
        "--check-labels",
        "--check_labels",
        action="store_true",
        help="read all converted labels, decode all frames, report problems, and draw a sample "
        "into OUT/train/check.png (and test)",
    )
    for option, name, text in _SETS:
        parser.add_argument(option, dest=name, type=Path, metavar="DIR", help=text)
    parser.add_argument(
        "--kitti-base-path", type=Path, metavar="OUT", required=True, help="the output folder"
    )
    parser.add_argument(
        "--category-limit",
        type=whole_number(1),
        metavar="N",
        default=6000,
        help="largest number of written faces with a mask, and of faces without; a photo that "
        "would exceed it is skipped (default: %(default)s)",
    )
    for side, pixels in (("width", 960), ("height", 544)):
        parser.add_argument(
            f"--tlt-input-dims_{side}",
            type=whole_number(1, _MOST_PIXELS),
            metavar="PIXELS",
            default=pixels,
            help=f"{side} of the frames that photos are stretched to (default: %(default)s)",
        )
    parser.add_argument(
        "--label_filename",
        metavar="NAME",
        help="with --check-labels: print and draw only this photo, with or without its set's name",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        metavar="N",
        default=min(os.cpu_count() or 1, _MOST_WORKERS),
        help="number of threads, which does not change the files (default: %(default)s)",
    )
    rules = parser.add_argument_group("rules of the tutorial")
    rules.add_argument(
        "--dont-care",
        action="store_true",
        help="write faces that a set's rules exclude as DontCare (default: they are background)",
    )
    rules.add_argument(
        "--mafa-tall", action="store_true", help="use MAFA's photos that are higher than wide too"
    )
    rules.add_argument(
        "--wider-events",
        metavar="EVENT,...",
        help="events of WIDER FACE to use, such as 4--Dancing,33--Running; or all (default: the "
        "24 of the tutorial)",
    )
    rules.add_argument(
        "--wider-max-faces",
        type=whole_number(1),
        metavar="N",
        default=3,
        help="skip photos of WIDER FACE with more unoccluded faces (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert or check, and return 1 if something could not be used."""
    if args.check_labels:
        return _check(args.kitti_base_path, args.label_filename, args.workers)
    if args.label_filename is not None:
        raise ConfigError("--label_filename names a photo to draw: give it with --check-labels")
    from facekit.datasets.public_sets import PICKED_EVENTS
    from facekit.datasets.run import EVALUATED, convert_sets, face_sets

    folders = {name: path for _, name, _ in _SETS if (path := getattr(args, name)) is not None}
    events: tuple[str, ...] | None = PICKED_EVENTS
    if args.wider_events == "all":
        events = None
    elif args.wider_events is not None:
        events = tuple(name.strip() for name in args.wider_events.split(",") if name.strip())
    sets = face_sets(
        folders,
        evaluation=args.val,
        mafa_wide_only=not args.mafa_tall,
        wider_events=events,
        wider_most_faces=args.wider_max_faces,
    )
    which = [option for option, name, _ in _SETS if args.train or name in EVALUATED]
    if not sets:
        raise ConfigError(f"no set to convert: give one of {', '.join(which)}")
    if args.val:
        given = [option for option, name, _ in _SETS if name in folders]
        for option in given:
            if option not in which:
                show(f"{option}: has no part to evaluate on, left out", sys.stderr)
    whole = convert_sets(
        sets,
        args.kitti_base_path / ("train" if args.train else "test"),
        (args.tlt_input_dims_width, args.tlt_input_dims_height),
        category_limit=args.category_limit,
        workers=args.workers,
        dont_care=args.dont_care,
    )
    return 0 if whole else 1


def _check(base: Path, name: str | None, workers: int) -> int:
    """Check each converted folder and draw a sample of it, or draw the photos of a name."""
    from facekit.datasets.check import check_folder, contact_sheet, drawn, sample

    folders = [base / part for part in ("train", "test") if (base / part).is_dir()]
    if not folders:
        raise DataError(base, "contains neither train nor test; convert the sets first")
    if name is not None:
        return _check_one(base, folders, name)
    whole = True
    for folder in folders:
        found = check_folder(folder, workers=workers)
        for problem in found.problems:
            show(str(problem), sys.stderr)
        whole = whole and not found.problems
        picture = folder / "check.png"
        tiles = [(labels.source.stem, drawn(labels)) for labels in sample(found.photos)]
        _save(contact_sheet(tiles, found.counts), picture)
        counts = ", ".join(f"{found.counts[kind]} {kind}" for kind in sorted(found.counts))
        show(f"{folder}: {count(len(found.photos), 'photo')}, {counts or 'no objects'}")
        show(str(picture))
    return 0 if whole else 1


def _save(image: Any, path: Path) -> None:
    """Write a picture; raises DataError where there is one that facekit did not draw."""
    check_own(path, is_our_picture)
    with writing(path):
        write_whole(path, picture_bytes(image, path.suffix))


def _check_one(base: Path, folders: Sequence[Path], name: str) -> int:
    """Print and draw the photos of a name, with or without their set's name before it."""
    from facekit.datasets.check import check_folder, drawn

    checks = [(folder, check_folder(folder, name)) for folder in folders]
    if not any(found.photos or found.problems for _, found in checks):
        raise DataError(base, f"contains no photo {name}")
    for folder, found in checks:
        for labels in found.photos:
            picture = folder / f"check_{labels.source.stem}.png"
            _save(drawn(labels), picture)
            boxes = [[round(side, 2) for side in box] for box in labels.boxes_xyxy.tolist()]
            show(f"Bounding Box {boxes}")
            show(f"Category: {list(labels.class_names)}")
            show(str(picture))
        for problem in found.problems:
            show(str(problem), sys.stderr)
    return 1 if any(found.problems for _, found in checks) else 0
