"""``python -m conversion``: the converter's command line.

What a subcommand needs is imported when it runs, so that ``plan`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from facekit.command import EXIT_FAILED, run_command
from facekit.text import show

if TYPE_CHECKING:
    from conversion.catalog import Job
    from conversion.plan import Options

HOST_ROOT_VARIABLE = "FACEKIT_HOST_ROOT"
"""Where scripts/convert mounts the host's folders; messages name them as the host does."""

_EPILOG = """\
MODEL is a model of the repository, such as facenet; without one, all are converted.
Exit codes: 0 done; 1 some of the work failed; 2 nothing could be done.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="python -m conversion",
        description="Make TensorRT engines and GPU pipelines for the model repository.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = _shared_options()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    summaries = {
        "plan": "print what would be done, and why; do nothing",
        "fetch": "download the networks, and what converts them",
        "build": "build engines of what was fetched",
        "serialize": "write the DALI pipelines",
        "verify": "check what is in the repository against this machine",
        "all": "fetch, build, serialize and verify",
    }
    for name, summary in summaries.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=_EPILOG,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=_plan if name == "plan" else _run, triton=None)
    plan = commands.choices["plan"]
    plan.add_argument("--json", action="store_true", help="as JSON")
    plan.add_argument(
        "--commands", action="store_true", help="every build command of the kit's own weights"
    )
    plan.add_argument("--triton", metavar="TAG", help="for this Triton release, such as 24.04")
    _add_deepstream(commands)
    return parser


def _add_deepstream(commands: Any) -> None:
    command = commands.add_parser(
        "deepstream",
        help="write DeepStream's configurations of the mask detector",
        description="Write DeepStream's configurations of the mask detector: nvinfer's settings, "
        "an app for a camera and one for a video, and the labels. Paths are relative to them.",
        parents=[_catalog_options()],
    )
    command.set_defaults(run=_deepstream)
    where = "where to write them (the kit's deepstream; weights with a key need it)"
    video = "what the video app plays: a file, or a URI such as rtsp://CAMERA/STREAM"
    camera = "the camera app's /dev/videoN (0)"
    command.add_argument("--output", type=Path, metavar="DIR", help=where)
    command.add_argument("--video", metavar="URI", help=video)
    command.add_argument("--camera", type=int, default=0, metavar="N", help=camera)


def _shared_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, parents=[_catalog_options()])
    source = "copy from what NGC's own command line downloaded here; no network is used"
    accept = "accept the licenses that plan names (also FACEKIT_ACCEPT_EULA=yes)"
    force = "build engines that are up to date too"
    device = "what the DALI pipelines run on (gpu)"
    no_wait = "do not wait for another converter on the same repository"
    shared.add_argument("model", nargs="*", metavar="MODEL", help="work on these models only")
    shared.add_argument("--from", dest="source", type=Path, metavar="DIR", help=source)
    shared.add_argument("--accept-eula", action="store_true", help=accept)
    shared.add_argument("--force", action="store_true", help=force)
    shared.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help=device)
    shared.add_argument("--no-wait", action="store_true", help=no_wait)
    return shared


def _catalog_options() -> argparse.ArgumentParser:
    """Return the options of what can be converted and of what is selected."""
    shared = argparse.ArgumentParser(add_help=False)
    repository = "the model repository (the kit's own; also FACEKIT_MODEL_REPOSITORY)"
    weights = "which weights, for all models or one; repeatable (nvidia; also FACEKIT_WEIGHTS)"
    models = "networks of your own, as conversion/models.yaml describes; repeatable"
    weights_dir = "where downloads are kept (weights; also FACEKIT_WEIGHTS_DIR)"
    many: Any = {"action": "append", "default": []}
    shared.add_argument("--repository", type=Path, metavar="DIR", help=repository)
    shared.add_argument("--weights", metavar="[MODEL=]NAME", help=weights, **many)
    shared.add_argument("--models", type=Path, metavar="FILE", help=models, **many)
    shared.add_argument("--weights-dir", type=Path, metavar="DIR", help=weights_dir)
    return shared


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = build_parser().parse_args(argv)
    kept = "; engines that were there before still are"
    return run_command(
        lambda: int(args.run(args)),
        "conversion",
        extra="convert",
        when_stopped=kept,
        handle_sigterm=True,
    )


def say(text: str) -> None:
    """Write a line about the progress."""
    _write(text, sys.stderr)


def _jobs(args: argparse.Namespace) -> tuple[list[Job], Options]:
    """Return the engines and the options that were asked for."""
    from conversion import paths, selection
    from conversion.catalog_file import load_catalog
    from conversion.ngc import api_key
    from conversion.plan import Options

    repository = args.repository or paths.model_repository()
    catalog = load_catalog(args.models, repository=repository)
    jobs = selection.select(catalog, args.weights, args.model)
    options = Options(
        repository=repository,
        weights_dir=args.weights_dir or paths.weights_dir(),
        source=args.source,
        key=api_key() if args.command in ("fetch", "all") else None,
        accepted=args.accept_eula or selection.license_accepted(),
        force=args.force,
        device=args.device,
        wait=not args.no_wait,
        triton=args.triton,
    )
    return jobs, options


def _plan(args: argparse.Namespace) -> int:
    from conversion import paths, planning
    from facekit.engines.machine import probe_machine

    if args.commands:
        _write("\n".join(planning.command_lines()), sys.stdout)
        return 0
    jobs, options = _jobs(args)
    paths.check_repository(options.repository, jobs)
    plan = planning.make_plan(jobs, options, probe_machine())
    _write(plan.to_json() if args.json else plan.text(_given(args)), sys.stdout)
    return EXIT_FAILED if plan.failed else 0


def _given(args: argparse.Namespace) -> list[str]:
    """Return the options that the run itself has to be given too."""
    given = [*args.model]
    for selection in args.weights:
        given += ["--weights", selection]
    paths = [("--models", path) for path in args.models]
    paths += [("--repository", args.repository), ("--weights-dir", args.weights_dir)]
    for option, path in (*paths, ("--from", args.source)):
        given += [] if path is None else [option, str(path)]
    given += ["--accept-eula"] * args.accept_eula + ["--force"] * args.force
    return given + (["--device", args.device] if args.device != "gpu" else [])


def _run(args: argparse.Namespace) -> int:
    from conversion.run import run
    from facekit.engines.machine import probe_machine

    jobs, options = _jobs(args)
    result = run(args.command, jobs, options, probe_machine(), say)
    _write(result.text(), sys.stdout)
    return EXIT_FAILED if result.failed else 0


def _deepstream(args: argparse.Namespace) -> int:
    from conversion import deepstream, paths, selection
    from conversion.catalog_file import load_catalog

    repository = (args.repository or paths.model_repository()).absolute()
    catalog = load_catalog([path.absolute() for path in args.models], repository=repository)
    camera = deepstream.camera_source(args.camera)
    video = deepstream.video_source(args.video or deepstream.SAMPLE_VIDEO)
    (job,) = selection.select(catalog, args.weights, [deepstream.MODEL])
    deepstream.check_output(job, args.output)
    weights_dir = (args.weights_dir or paths.weights_dir()).absolute()
    detector = deepstream.read_detector(job, repository, weights_dir)
    output = (args.output or paths.deepstream_dir()).resolve()
    files = deepstream.write(detector, output, camera=camera, video=video)
    for path, written in files.items():
        line = f"{'written' if written else 'unchanged'}  {paths.display_path(path)}"
        _write(line, sys.stdout)
    return 0


def _write(text: str, stream: TextIO) -> None:
    if host_root := os.environ.get(HOST_ROOT_VARIABLE):
        text = text.replace(f"{host_root}/", "/")
    show(text, stream)
