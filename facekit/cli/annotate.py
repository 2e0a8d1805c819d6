"""``facekit annotate``: a folder of photos in, a dataset of faces and landmarks out."""

import argparse
import sys
from typing import Any

from facekit import cli
from facekit.command import EXIT_FAILED
from facekit.text import show


def add_parser(subparsers: Any) -> None:
    """Declare the subcommand and its options."""
    parser = subparsers.add_parser(
        "annotate",
        help="find the faces of all photos below a folder and write them as a dataset",
        description="Find the faces and landmarks in all photos below a folder, and write them as "
        "a COCO dataset. The same command resumes an interrupted run, and processes photos that "
        "were added, changed or removed since. Photos that can't be used are reported in "
        "NAME.failures.jsonl beside the dataset and do not stop the others; the exit code is then "
        "1.",
    )
    folder_help = (
        "the photo folder, or a text file of s3://, gs:// or file:// addresses, one a line"
    )
    parser.add_argument("folder", metavar="DIR", type=cli.file_name, help=folder_help)
    _add_outputs(parser)
    cli.add_servers(parser, ray=True)
    cli.add_model(parser)
    cli.add_search(parser)
    cli.add_limits(parser)
    parser.add_argument(
        "--hash",
        action="store_true",
        help="detect changes by a photo's content instead of its time; every run reads all photos",
    )
    retry_failed_help = "retry photos that can't be used; other failures are always retried"
    parser.add_argument("--retry-failed", action="store_true", help=retry_failed_help)
    parser.add_argument(
        "--store",
        metavar="URL",
        help="also update a store: sqlite:///FILE or redis://[:PASSWORD@]HOST[:PORT][/DB], also "
        "rediss:// and unix://; facekit query reads it",
    )
    dataset_help = "name in the store (needs --store; default: the folder's name)"
    parser.add_argument("--dataset", metavar="NAME", help=dataset_help)
    ray_help = "distribute the work over a Ray cluster, such as auto or HOST:6379 (needs --url)"
    parser.add_argument("--ray", metavar="ADDRESS", help=ray_help)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    coco_help = "the dataset in the COCO keypoints format; the record of the run is FILE.results"
    parser.add_argument("--coco", metavar="FILE", type=cli.file_name, required=True, help=coco_help)
    parser.add_argument("--jsonl", metavar="FILE", type=cli.file_name, help="also as JSON Lines")
    parser.add_argument("--parquet", metavar="FILE", type=cli.file_name, help="also as Parquet")
    parser.add_argument(
        "--label-studio", metavar="FILE", type=cli.file_name, help="also as tasks for Label Studio"
    )
    parser.add_argument(
        "--fiftyone", metavar="FILE", type=cli.file_name, help="also as samples for FiftyOne"
    )
    parser.add_argument(
        "--seed-fields",
        action="store_true",
        help="in COCO also each face's rotation in degrees, its center and its points as "
        "segmentation, and each photo's channels",
    )


def run(args: argparse.Namespace) -> int:
    """Annotate, print a summary, and return 1 if a photo failed or the store is behind.

    Raises FacekitError if the run can't continue; its results are kept, and the same command
    resumes.
    """
    from facekit.annotate import Options, Outputs, annotate

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
        tiles=args.tiles,
        rotations=args.rotations,
        concurrency=args.concurrency,
        timeout_s=args.timeout,
        tls_certificate=args.tls_cert,
        hash_content=args.hash,
        min_score=args.min_score,
        min_size_px=args.min_size,
        min_sharpness=args.min_sharpness,
        retry_failed=args.retry_failed,
        store=args.store,
        dataset=args.dataset,
        ray=args.ray,
        server_wait_s=args.server_wait,
    )
    for path in outputs.formats.values():
        cli.check_output(path)
    summary = annotate(args.folder, outputs, options, say=lambda line: show(line, sys.stderr))
    if summary.store is not None:
        show(summary.store.message, sys.stdout if summary.store.ok else sys.stderr)
    show(summary.text())
    behind = summary.store is not None and not summary.store.ok
    return EXIT_FAILED if summary.failures or summary.unlisted or behind else 0
