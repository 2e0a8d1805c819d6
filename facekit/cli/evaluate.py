"""``facekit evaluate``: how good what is served is, against labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.cli import add_tls_certificate, number, timeout

if TYPE_CHECKING:
    from facekit.errors import FacekitError
    from facekit.evaluation.label_classes import ClassMap
    from facekit.evaluation.report import Evaluation
    from facekit.evaluation.selection import Selection
    from facekit.faces import Faces

    Answers = list[Faces | FacekitError]


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score what a server finds against labels",
        description="Send labelled photos to one server or several, and print the average "
        "precision of the faces found by class and size, and the error of the landmarks. A photo "
        "or label file that can't be used is reported and does not stop the others; the exit code "
        "is then 1.",
    )
    parser.add_argument(
        "--labels",
        metavar="PATH",
        type=Path,
        required=True,
        help="folder of KITTI (.txt), VOC (.xml) or 300-W (.pts) labels, or a COCO .json file",
    )
    parser.add_argument(
        "--photos",
        metavar="DIR",
        type=Path,
        help="folder of the photos (default: beside the labels, or `images` next to them)",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--split",
        choices=("evaluation", "calibration", "training"),
        help="take only photos of this split of the kit's own training; evaluation is a seventh",
    )
    chosen.add_argument(
        "--list", metavar="FILE", type=Path, help="take only the photos that FILE names, one a line"
    )
    parser.add_argument(
        "--url",
        metavar="HOST:PORT",
        action="append",
        help="gRPC address of a running server; give it again to compare several (without: an "
        "embedded server runs meanwhile)",
    )
    add_tls_certificate(parser)
    parser.add_argument(
        "--model",
        metavar="MODEL",
        action="append",
        help="faces (default), facenet_ensemble or facemask_ensemble; give it again to compare "
        "several",
    )
    parser.add_argument(
        "--class-map",
        metavar="LABEL=CLASS,...",
        help="which class of the model a label's class is; none leaves it out, as in car= "
        "(the usual names of face sets are known)",
    )
    parser.add_argument(
        "--iou",
        metavar="SHARE",
        type=_overlap,
        default=0.5,
        help="overlap from which a face is found (default: %(default)g)",
    )
    parser.add_argument(
        "--min-height",
        metavar="PIXELS",
        type=_height,
        default=20.0,
        help="lower faces do not count; in pixels of the network's frame, whose height of 416 is "
        "that of the photo (default: %(default)g)",
    )
    parser.add_argument(
        "--mode",
        choices=("INTEGRATE", "SAMPLE"),
        default="INTEGRATE",
        help="average precision as the area under the curve, or as the mean at 11 recalls "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write all figures and curves to FILE; - is standard output, with no tables",
    )
    parser.add_argument(
        "--plot", metavar="FILE.png", type=Path, help="draw precision over recall into FILE"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=timeout,
        default=30.0,
        help="how long one photo may take (default: %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Ask, score, write what was asked for, and return 1 if something had to be left out.

    Raises:
        ConfigError: An option, or a class name of the labels, is not known.
        DataError: There are no labels, or none that can be used.
        ServerError: A server does not serve the model, or no photo was answered.
        SetupError: The embedded server can't start, or a file that was asked for can't be written.
    """
    from facekit.client.calls import check_model
    from facekit.errors import DataError
    from facekit.evaluation.label_classes import ClassMap, parse_class_map
    from facekit.evaluation.selection import select
    from facekit.labels.folder import find_labels

    models = list(dict.fromkeys(args.model or ["faces"]))
    for model in models:
        check_model(model)
    if args.plot is not None:
        import matplotlib  # noqa: F401  (missing, it is better missed before the work)
    classes = ClassMap(parse_class_map(args.class_map) if args.class_map is not None else None)
    found = find_labels(args.labels, args.photos)
    selection = select(found, split=args.split, list_file=args.list)
    if not selection.labels:
        if selection.errors:
            raise selection.errors[0]
        raise DataError(args.labels, "holds no photo of those asked for")
    evaluation = _score(args, selection, classes, _ask(args, models, selection, classes))
    _write(args, evaluation)
    return int(bool(evaluation.failures))


def _ask(
    args: argparse.Namespace, models: list[str], selection: Selection, classes: ClassMap
) -> dict[str, Answers]:
    """Return the answers of every model of every server, by the name that tells them apart."""
    from facekit.evaluation.served import ask
    from facekit.runs import connect

    urls = list(dict.fromkeys(args.url or [None]))
    answers: dict[str, Answers] = {}
    for url in urls:
        with connect(url, timeout_s=args.timeout, tls_certificate=args.tls_cert) as client:
            for model in models:
                name = model if len(urls) == 1 else f"{model} at {url}"
                answers[name] = ask(client, model, selection.labels, classes)
    return answers


def _score(
    args: argparse.Namespace,
    selection: Selection,
    classes: ClassMap,
    answers: dict[str, Answers],
) -> Evaluation:
    """Score all servers on the photos that each of them answered and whose labels fit."""
    from facekit.errors import DataError, FacekitError
    from facekit.evaluation.report import Evaluation
    from facekit.evaluation.served import Rules, fitted, score
    from facekit.faces import Faces

    failures: list[tuple[str, FacekitError]] = [
        (str(error.path), error) for error in selection.errors
    ]
    photos = []
    usable: dict[str, list[Faces]] = {name: [] for name in answers}
    for labels, *of_servers in zip(selection.labels, *answers.values(), strict=True):
        faces = [answer for answer in of_servers if isinstance(answer, Faces)]
        errors = [answer for answer in of_servers if isinstance(answer, FacekitError)]
        if errors:
            failures.append((str(labels.photo), errors[0]))
            continue
        try:
            photos.append(fitted(labels, faces[0].size_wh))
        except DataError as e:
            failures.append((str(labels.source), e))
            continue
        for name, answer in zip(answers, faces, strict=True):
            usable[name].append(answer)
    if not photos:
        raise failures[0][1]
    rules = Rules(args.iou, args.min_height, args.mode)
    servers = tuple(score(name, photos, own, classes, rules) for name, own in usable.items())
    there = sum(int(((classes.faces(p.class_names) == 0) & ~p.ignored).sum()) for p in photos)
    return Evaluation(str(args.labels), rules, len(photos), there, servers, tuple(failures))


def _write(args: argparse.Namespace, evaluation: Evaluation) -> None:
    import json

    from facekit.errors import SetupError
    from facekit.report import count, show, write_text

    text = json.dumps(evaluation.to_dict(), indent=1)
    if args.json == Path("-"):
        show(text)
    else:
        show(evaluation.text())
        if args.json is not None:
            try:
                write_text(args.json, text + "\n")
            except OSError as e:
                raise SetupError(f"{e.filename or args.json}: {e.strerror or e}") from e
    if args.plot is not None:
        from facekit.evaluation.plot import write_plot

        title = f"{args.labels}: {count(evaluation.photos, 'photo')}"
        write_plot(evaluation.servers, title, args.plot)


def _overlap(text: str) -> float:
    return number(text, "a number above 0, up to 1", lambda value: 0 < value <= 1)


def _height(text: str) -> float:
    return number(text, "pixels from 0 to 415", lambda value: 0 <= value < 416)
