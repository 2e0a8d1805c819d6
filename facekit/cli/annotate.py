"""``facekit annotate``: a folder of photos in, a dataset of faces and landmarks out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from facekit.cli import (
    add_timeout,
    add_tls_certificate,
    check_output,
    number,
    score,
    whole_number,
)
from facekit.command import EXIT_FAILED

# Those of `facekit.client.calls.DETECTORS`, which takes long to import.
_MODELS = ("faces", "facemask_ensemble", "facenet_ensemble")


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "annotate",
        help="find the faces of all photos below a folder and write them as a dataset",
        description="Find the faces and landmarks in all photos below a folder, and write them as "
        "a COCO dataset. A run that was stopped, by whatever, goes on with the same command, and "
        "photos that were added, changed or removed since are brought up to date. Photos that "
        "can't be used are reported in NAME.failures.jsonl beside the dataset and do not stop the "
        "others; the exit code is then 1.",
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=_path,
        help="the photo folder, or a text file of s3://, gs:// or file:// addresses, one a line",
    )
    _add_outputs(parser)
    _add_server(parser)
    parser.add_argument(
        "--model",
        choices=_MODELS,
        default=_MODELS[0],
        help="what to find: boxes and landmarks (faces, the default), who wears a mask "
        "(facemask_ensemble), or boxes alone (facenet_ensemble)",
    )
    parser.add_argument(
        "--min-score",
        metavar="SCORE",
        type=score,
        default=0.0,
        help="leave out faces of a lower score, 0 to 1 (default: all that the server finds)",
    )
    parser.add_argument(
        "--hash",
        action="store_true",
        help="detect changes by a photo's content, not by its time; every run then "
        "reads all photos",
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try photos again that can't be used; others that failed are always tried again",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        help="also keep a store up to date: sqlite:///FILE or "
        "redis://[:PASSWORD@]HOST[:PORT][/DB], also rediss:// and unix://; facekit query reads it",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="the folder's name in the store (needs --store; default: as the folder is called)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="spread the work over a Ray cluster, such as auto or HOST:6379 (needs --url)",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coco",
        metavar="FILE",
        type=_path,
        required=True,
        help="the dataset in the COCO keypoints format; what was found so far is recorded beside "
        "it in FILE.results",
    )
    parser.add_argument("--jsonl", metavar="FILE", type=_path, help="also as JSON Lines")
    parser.add_argument("--parquet", metavar="FILE", type=_path, help="also as Parquet")
    parser.add_argument(
        "--label-studio", metavar="FILE", type=_path, help="also as tasks for Label Studio"
    )
    parser.add_argument(
        "--fiftyone", metavar="FILE", type=_path, help="also as samples for FiftyOne"
    )
    parser.add_argument(
        "--seed-fields",
        action="store_true",
        help="in COCO also each face's rotation in degrees, its center and its points as "
        "segmentation, and each photo's channels",
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        metavar="HOST:PORT",
        type=_urls,
        action="append",
        default=[],
        help="gRPC address of a running server; several, by commas or by repeating the option, "
        "share the work (without: an embedded server runs meanwhile)",
    )
    add_tls_certificate(parser)
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=whole_number(1),
        help="requests in flight at one time over all servers (default: 8 a server; with --ray 4 "
        "in each worker)",
    )
    add_timeout(parser)
    parser.add_argument(
        "--server-wait",
        metavar="SECONDS",
        type=_wait,
        default=120.0,
        help="how long no server at all may answer, at the start (a server may be starting) or "
        "later, before the run ends (default: %(default)g; with --ray 15 at most at the start)",
    )


def run(args: argparse.Namespace) -> int:
    """Annotate, say what came of it, and return 1 if a photo failed or the store is behind.

    Raises:
        FacekitError: The run can't go on; what was found is kept, and the same command goes on.
    """
    from facekit.annotate import Options, Outputs, annotate
    from facekit.text import show

    outputs = Outputs(
        coco=args.coco,
        jsonl=args.jsonl,
        parquet=args.parquet,
        label_studio=args.label_studio,
        fiftyone=args.fiftyone,
        seed_fields=args.seed_fields,
    )
    options = Options(
        urls=tuple(url for urls in args.url for url in urls),
        model=args.model,
        concurrency=args.concurrency,
        timeout_s=args.timeout,
        tls_certificate=args.tls_cert,
        hash_content=args.hash,
        min_score=args.min_score,
        retry_failed=args.retry_failed,
        store=args.store,
        dataset=args.dataset,
        ray=args.ray,
        server_wait_s=args.server_wait,
    )
    for path in outputs.formats.values():
        check_output(path)
    summary = annotate(args.folder, outputs, options, say=lambda line: show(line, sys.stderr))
    if summary.store is not None:
        show(summary.store.message, sys.stdout if summary.store.ok else sys.stderr)
    show(summary.text())
    behind = summary.store is not None and not summary.store.ok
    return EXIT_FAILED if summary.failures or summary.unlisted or behind else 0


def _path(text: str) -> Path:
    if not text:  # an unset variable of a script, which pathlib would take for this folder
        raise argparse.ArgumentTypeError("an empty name")
    return Path(text)


def _urls(text: str) -> list[str]:
    urls = [url for url in map(str.strip, text.split(",")) if url]
    if not urls:  # an unset variable of a script, for which an embedded server would be started
        raise argparse.ArgumentTypeError("expected host:port, got an empty text")
    return urls


def _wait(text: str) -> float:
    return number(text, "seconds >= 0", lambda value: 0 <= value < 1e9)
