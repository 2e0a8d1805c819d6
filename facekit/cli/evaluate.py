"""``facekit evaluate``: score served models against labels."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.cli import add_json, add_server, check_output, number, print_results
from facekit.errors import DataError, FacekitError, InputError, ServerError
from facekit.outputs import begins_as, check_own, is_our_picture
from facekit.text import count, show

if TYPE_CHECKING:
    from facekit.evaluation.label_classes import ClassMap
    from facekit.evaluation.report import Evaluation
    from facekit.faces import Faces
    from facekit.labels.folder import Selection
    from facekit.labels.wider import WiderSubsets

    Answers = list[Faces | FacekitError]

_BEGINNING = re.compile(rb'\{\n "format": \d+,\n "labels": "')
"""Of the file of ``--json``."""


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score what a server finds against labels",
        description="Send labeled photos to one or more servers, and print the average precision "
        "by class and size, and the error of the landmarks. Objects marked as difficult (VOC), a "
        "crowd (COCO), invalid (WIDER) or DontCare (KITTI) are ignored. Labels are in pixels of "
        "the photo as stored, or as turned upright (EXIF) where the size that they state fits only "
        "that. A photo or label file that can't be used is reported and does not stop the others; "
        "the exit code is then 1.",
    )
    labels_help = (
        "folder of KITTI (.txt), VOC (.xml) or 300-W (.pts) labels, a COCO .json file, or "
        "WIDER FACE's WIDER_val with wider_face_split next to it"
    )
    parser.add_argument("--labels", metavar="PATH", type=Path, required=True, help=labels_help)
    photos_help = "folder of the photos (default: beside the labels, or `images` next to them)"
    parser.add_argument("--photos", metavar="DIR", type=Path, help=photos_help)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--split",
        choices=("evaluation", "calibration", "training"),
        help="use only photos of this split of the kit's own training; evaluation is a seventh",
    )
    chosen.add_argument(
        "--list", metavar="FILE", type=Path, help="use only the photos that FILE names, one a line"
    )
    add_server(
        parser,
        "gRPC address of a running server; repeat it to compare several (default: an embedded "
        "server is started)",
        action="append",
    )
    model_help = (
        "faces (default), facenet_ensemble or facemask_ensemble; repeat it to compare several"
    )
    parser.add_argument("--model", metavar="MODEL", action="append", help=model_help)
    parser.add_argument(
        "--class-map",
        metavar="LABEL=CLASS,...",
        help="the model's class of a label's class; an empty one leaves it out, as in car= (the "
        "usual names of face sets are known)",
    )
    parser.add_argument(
        "--iou",
        metavar="SHARE",
        type=number("a number above 0, up to 1", lambda value: 0 < value <= 1),
        default=0.5,
        help="least overlap of a found face with its label (default: %(default)g)",
    )
    parser.add_argument(
        "--min-height",
        metavar="PIXELS",
        type=number("pixels from 0 to 415", lambda value: 0 <= value < 416),
        default=20.0,
        help="ignore faces of a lower height, in pixels of the photo scaled to a height of 416 "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--mode",
        choices=("INTEGRATE", "SAMPLE"),
        default="INTEGRATE",
        help="average precision as the area under the curve, or as the mean at 11 recalls "
        "(default: %(default)s)",
    )
    add_json(parser, "all figures and curves")
    parser.add_argument(
        "--plot", metavar="FILE.png", type=Path, help="plot precision over recall into FILE"
    )


def run(args: argparse.Namespace) -> int:
    """Run inference, score, write the outputs, and return 1 if a photo could not be used."""
    from facekit.client.calls import check_model
    from facekit.evaluation.label_classes import ClassMap, parse_class_map
    from facekit.labels.folder import find_labels, select
    from facekit.labels.wider import subsets_of

    models = list(dict.fromkeys(args.model or ["faces"]))
    for model in models:
        check_model(model)
    import PIL  # noqa: F401  (so that a missing package is reported before the work)

    if args.plot is not None:
        from facekit.evaluation.plot import check_suffix

        check_suffix(args.plot)
    if args.json is not None:
        check_output(args.json, begins_as(_BEGINNING))
    if args.plot is not None:
        check_output(args.plot, is_our_picture)
    classes = ClassMap(parse_class_map(args.class_map) if args.class_map is not None else None)
    unlabeled: list[Path] = []
    found = find_labels(args.labels, args.photos, unlabeled.append)
    selection = select(found, unlabeled, split=args.split, list_file=args.list)
    if not selection.labels:
        if selection.errors:
            raise selection.errors[0]
        raise DataError(args.labels, "contains none of the selected photos")
    if args.plot is not None:
        photos = [labels.photo for labels in selection.labels if labels.photo is not None]
        check_own(args.plot, is_our_picture, photos)
    # Part of the photos has no figure that compares with others'.
    whole = args.split is None and args.list is None
    subsets = subsets_of(args.labels) if whole else None
    answers = _answers(args, models, selection, classes)
    evaluation = _score(args, selection, classes, answers)
    if subsets is not None:
        evaluation = replace(evaluation, wider=_wider(subsets, selection, answers))
    _write(args, evaluation)
    return int(bool(evaluation.failures))


def _answers(
    args: argparse.Namespace, models: list[str], selection: Selection, classes: ClassMap
) -> dict[str, Answers]:
    """Return the answers of every model of every server, by a name for each pair."""
    from facekit.evaluation.served import ask, check_served
    from facekit.runs import connect

    urls = list(dict.fromkeys(args.url or [None]))
    files = {name: labels.source for labels in selection.labels for name in labels.class_names}
    for name in classes.unused(files):
        show(f"--class-map: {name} is in no label file", sys.stderr)
    with contextlib.ExitStack() as stack:
        # All must answer before the first gets all photos.
        asked = []
        for url in urls:
            server = connect(url, timeout_s=args.timeout, tls_certificate=args.tls_cert)
            client = stack.enter_context(server)
            for model in models:
                name = model if len(urls) == 1 else f"{model} at {url}"
                asked.append((name, client, model))
        for name, client, model in asked:
            try:
                check_served(client, model, files, classes)
            except (ServerError, InputError) as error:
                raise type(error)(f"{name} does not answer: {error}") from error
        return {name: ask(client, model, selection.labels) for name, client, model in asked}


def _score(
    args: argparse.Namespace,
    selection: Selection,
    classes: ClassMap,
    answers: dict[str, Answers],
) -> Evaluation:
    """Score all servers on the photos that all of them answered and whose labels fit."""
    from facekit.evaluation.report import Evaluation, Failure, Remarks
    from facekit.evaluation.served import ScoringRules, fitted, score
    from facekit.faces import Faces
    from facekit.labels.folder import turned_upright

    failures = [Failure(str(error.path), error) for error in selection.errors]
    photos = []
    usable: dict[str, list[Faces]] = {name: [] for name in answers}
    for labels, *of_servers in zip(selection.labels, *answers.values(), strict=True):
        faces = [answer for answer in of_servers if isinstance(answer, Faces)]
        if len(faces) < len(of_servers):
            failures += [
                Failure(str(labels.photo), answer, name if len(answers) > 1 else None)
                for name, answer in zip(answers, of_servers, strict=True)
                if not isinstance(answer, Faces)
            ]
            continue
        try:
            photos.append(fitted(turned_upright(labels), faces[0].size_wh))
        except DataError as error:
            failures.append(Failure(str(error.path), error))
            continue
        for name, answer in zip(answers, faces, strict=True):
            usable[name].append(answer)
    if not photos:
        raise failures[0].error
    rules = ScoringRules(args.iou, args.min_height, args.mode)
    servers = tuple(score(name, photos, own, classes, rules) for name, own in usable.items())
    there = sum(int(((classes.faces(p.class_names) == 0) & ~p.ignored).sum()) for p in photos)
    remarks = Remarks.of(photos, len(selection.unlabeled))
    return Evaluation(
        str(args.labels), rules, len(photos), there, servers, tuple(failures), remarks
    )


def _wider(
    subsets: WiderSubsets, selection: Selection, answers: dict[str, Answers]
) -> dict[str, dict[str, float]]:
    """Return the average precision of WIDER's subsets by server; what it failed on is missed."""
    from facekit.evaluation.wider_protocol import subset_precisions
    from facekit.faces import Faces
    from facekit.labels.wider import photo_key

    keys = [photo_key(labels.photo) for labels in selection.labels if labels.photo is not None]
    return {
        name: subset_precisions(
            subsets,
            {
                key: (faces.boxes_xyxy, faces.scores)
                for key, faces in zip(keys, own, strict=True)
                if isinstance(faces, Faces)
            },
        )
        for name, own in answers.items()
    }


def _write(args: argparse.Namespace, evaluation: Evaluation) -> None:
    print_results(evaluation.text(), lambda: json.dumps(evaluation.to_dict(), indent=1), args.json)
    if args.plot is not None:
        from facekit.evaluation.plot import write_plot

        title = f"{args.labels}: {count(evaluation.photos, 'photo')}"
        write_plot(evaluation.servers, title, args.plot)
