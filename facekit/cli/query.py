"""``facekit query``: query the record of a run, or a store of ``annotate --store``."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from facekit.cli import add_json, check_output, number, print_results, score, size_px, whole_number
from facekit.errors import ConfigError, StoreError
from facekit.outputs import begins_as
from facekit.text import count, one_line, table

if TYPE_CHECKING:
    from facekit.store import Store
    from facekit.store.store import Answer

_PHOTOS = ("photo", "width", "height", "faces")
_FACES = (
    "photo",
    "number",
    "category",
    "score",
    "rotation_deg",
    "pose_deg",
    "sharpness",
    "box_xywh",
)
_FOLDERS = ("folder", "photos", "faces")
_CATEGORIES = ("category", "faces")
_DATASETS = ("dataset", "photos", "faces", "photo_folder")
_NAME = rb'"(?:[^"\\]|\\.)*"'
_BEGINNING = re.compile(
    rb'\{\n  "store": %s,\n(?:  "dataset": %s,\n)?  "rows": \[' % (_NAME, _NAME)
)
"""Of the file of ``--json``."""
_ONLY = ("category", "frontal", "min_size", "min_sharpness")
"""Options that narrow a question for faces."""
_TEXTS = {"photo", "category", "folder", "dataset", "photo_folder"}


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "query",
        help="query the results of a run",
        description="Query the record of a run (sqlite:///instances.json.results) or a store of "
        "facekit annotate --store, and print a table; by default its datasets and their sizes. "
        "All kinds of stores give the same answers in the same order; ties are in order of the "
        "photo's path.",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("FACEKIT_STORE") or None,
        help="sqlite:///FILE, redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://... or unix://FILE "
        "(also FACEKIT_STORE)",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="which dataset, where the store has several"
    )
    what = parser.add_mutually_exclusive_group()
    min_faces_help = "photos with at least N faces, those with most first"
    what.add_argument("--min-faces", metavar="N", type=whole_number(0), help=min_faces_help)
    what.add_argument("--photo", metavar="PATH", help="faces of one photo, named as in the dataset")
    min_score_help = "faces of a score of at least S, best first"
    what.add_argument("--min-score", metavar="S", type=score, help=min_score_help)
    what.add_argument(
        "--rotated-beyond",
        metavar="DEG",
        type=number("degrees from 0 to 180", lambda value: 0 <= value <= 180),
        help="faces rotated by more than DEG degrees either way, farthest first",
    )
    what.add_argument(
        "--by-folder", action="store_true", help="photos and faces directly in each folder"
    )
    what.add_argument("--by-category", action="store_true", help="faces of each category")
    best_help = (
        "the sharpest face of each folder, of those that the limits below leave: the best photo "
        "of each series"
    )
    what.add_argument("--best-per-folder", action="store_true", help=best_help)
    category_help = "only faces of this category, with a question for faces, or alone"
    parser.add_argument("--category", metavar="NAME", help=category_help)
    degrees = number("degrees from 0 to 180", lambda value: 0 <= value <= 180)
    frontal_help = "only faces that look past the camera by at most DEG degrees, likewise"
    parser.add_argument("--frontal", metavar="DEG", type=degrees, help=frontal_help)
    size_help = "only faces whose box has no side below this, likewise"
    parser.add_argument("--min-size", metavar="PX", type=size_px, help=size_help)
    sharpness_help = "only faces that are at least so sharp, 0 to 1, likewise"
    parser.add_argument("--min-sharpness", metavar="S", type=score, help=sharpness_help)
    parser.add_argument("--limit", metavar="N", type=whole_number(0), help="at most N rows")
    add_json(parser, "the answer")


def run(args: argparse.Namespace) -> int:
    """Query, and print or write the answer."""
    from facekit.store import open_store

    if not args.store:
        raise ConfigError("name a store: --store URL, or the variable FACEKIT_STORE")
    asked = (args.min_faces, args.photo, args.by_folder or None, args.by_category or None)
    for option in _ONLY:
        if getattr(args, option) is not None and any(each is not None for each in asked):
            raise ConfigError(
                f"--{option.replace('_', '-')} goes with --min-score, --rotated-beyond or "
                "--best-per-folder, or alone"
            )
    if args.json is not None:
        check_output(args.json, begins_as(_BEGINNING))
    with open_store(args.store, create=False) as store:
        about, columns, answers = _ask(store, args)
        rows = [_row(answer) for answer in answers][: args.limit]
        if not rows:
            _check_known(store, about, args)
    print_results(_table(columns, rows), lambda: _json(about, rows), args.json)
    return 0


def _ask(
    store: Store, args: argparse.Namespace
) -> tuple[dict[str, str], Sequence[str], Iterable[Answer]]:
    """Return the answer's heading for JSON, its columns, and the answer."""
    from facekit.store import FaceFilter

    about = {"store": store.name}
    asked = (args.min_faces, args.photo, args.min_score, args.rotated_beyond)
    flags = args.by_folder or args.by_category or args.best_per_folder
    if not flags and all(each is None for each in (*asked, *(getattr(args, o) for o in _ONLY))):
        datasets = store.datasets()
        if args.dataset is not None:
            name = _dataset(store, args.dataset)
            datasets = [each for each in datasets if each.dataset == name]
        return about, _DATASETS, datasets
    name = _dataset(store, args.dataset)
    about["dataset"] = name
    if args.min_faces is not None:
        return about, _PHOTOS, store.photos(name, args.min_faces, limit=args.limit)
    if args.photo is not None:
        return about, _FACES, store.faces_of(name, args.photo)
    if args.by_folder:
        return about, _FOLDERS, store.folders(name)
    if args.by_category:
        return about, _CATEGORIES, store.categories(name)
    if args.category is not None:
        _check_category(store, name, args.category)
    such = FaceFilter(args.frontal, args.min_size or 0.0, args.min_sharpness or 0.0)
    only: dict[str, Any] = {"category": args.category, "such": such, "limit": args.limit}
    if args.rotated_beyond is not None:
        return about, _FACES, store.rotated(name, args.rotated_beyond, **only)
    ask = store.best_per_folder if args.best_per_folder else store.faces
    return about, _FACES, ask(name, args.min_score or 0.0, **only)


def _dataset(store: Store, asked: str | None) -> str:
    """Return the dataset to query; raises StoreError if there is none, or several and no name."""
    names = [each.dataset for each in store.datasets()]
    if not names:
        raise StoreError(f"{store.name}: has no dataset yet")
    if asked is not None and asked not in names:
        raise StoreError(f"{store.name}: has no dataset {asked}, but {', '.join(names)}")
    if asked is None and len(names) > 1:
        raise StoreError(f"{store.name}: contains {', '.join(names)}; name one with --dataset")
    return asked or names[0]


def _check_category(store: Store, dataset: str, category: str) -> None:
    """Check that a face has this category: the empty answer to a typo would look like a result.

    A StoreError names the categories that there are.
    """
    from facekit.annotations.dataset import utf8_name

    names = [each.category for each in store.categories(dataset)]
    if utf8_name(category) not in names:
        there = f"but {', '.join(names)}" if names else "nor any other"
        raise StoreError(
            f"{store.name}: no face of {dataset} is of the category {category}, {there}"
        )


def _check_known(store: Store, about: dict[str, str], args: argparse.Namespace) -> None:
    """Check that an empty answer is not due to what nobody told about the faces.

    Raises:
        StoreError: The faces have no landmarks, and so no rotation or pose; or no sharpness.
    """
    turned = "rotation" if args.rotated_beyond is not None else "pose"
    if "dataset" not in about or (turned == "pose" and not (args.frontal or args.min_sharpness)):
        return
    best = next(iter(store.faces(about["dataset"], limit=1)), None)
    of = f"{store.name}: the faces of {about['dataset']} have no"
    if best is not None and not best.points_xy and (turned == "rotation" or args.frontal):
        raise StoreError(f"{of} landmarks, and so no {turned}")
    if best is not None and best.sharpness is None and args.min_sharpness:
        raise StoreError(f"{of} sharpness; they were found by another model, or before it was told")


def _row(answer: Answer) -> dict[str, Any]:
    """Return an answer's fields as they are written; names may be not UTF-8."""
    from facekit.annotations.dataset import name_fields

    row = answer.to_dict()
    texts = [(key, value) for key, value in row.items() if isinstance(value, str)]
    return row | {key: text for each in texts for key, text in name_fields(*each).items()}


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    cells = [[column.removesuffix("_deg").removesuffix("_xywh") for column in columns]]
    cells += [[one_line(_cell(column, row[column])) for column in columns] for row in rows]
    align = "".join("l" if column in _TEXTS else "r" for column in columns)
    return f"{table(cells, align)}\n{count(len(rows), 'row')}"


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "?"
    if column in ("score", "sharpness"):
        return f"{value:.4f}"
    if column == "pose_deg":
        return " ".join(f"{angle:.0f}" for angle in value)
    if column == "rotation_deg":
        return f"{value:.1f}"
    if column == "box_xywh":
        return " ".join(f"{side:.0f}" for side in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _json(about: dict[str, str], rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in about.items())
    body = ",\n".join("    " + json.dumps(row) for row in rows)
    return f'{{\n{head}  "rows": [' + (f"\n{body}\n  " if rows else "") + "]\n}"
