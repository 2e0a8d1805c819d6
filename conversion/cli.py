"""``python -m conversion``: what can be asked of the converter.

What a subcommand needs is imported when it runs, so that ``plan`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from facekit.errors import FacekitError, install_hint

EXIT_FAILED = 1
"""Some of the work failed; the output says what."""
EXIT_UNUSABLE = 2
"""Nothing could be done: wrong options, or something that is missing on this machine."""
_EXIT_SIGNAL = 128

_EXTRAS = {"yaml": "convert", "requests": "convert", "urllib3": "convert", "nvidia": "server"}
# What facekit itself needs, extra or not.
_OWN = ("tritonclient", "google", "grpc", "numpy")

_EPILOG = """\
MODEL is a model of the repository, such as facenet; all are worked on without one.
Exit codes: 0 done; 1 some of the work failed; 2 nothing could be done.
"""


class _Stopped(KeyboardInterrupt):
    """SIGTERM, which ends the work like Ctrl-C: tools are stopped, half files removed."""


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

    def add(
        name: str, words: str, run: Callable[[argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=words,
            description=f"{words[0].upper()}{words[1:]}.",
            epilog=_EPILOG,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    plan = add("plan", "say what would be done, and why; do nothing", _plan)
    plan.add_argument("--json", action="store_true", help="as JSON")
    plan.add_argument(
        "--commands", action="store_true", help="every build command of the kit's own weights"
    )
    plan.add_argument("--triton", metavar="TAG", help="for this Triton release, such as 24.04")
    add("fetch", "download the networks, and what converts them", _run)
    add("build", "make engines of what was fetched", _run)
    add("serialize", "write the DALI pipelines", _run)
    add("verify", "check what is in the repository against this machine", _run)
    add("all", "fetch, build, serialize and verify", _run)
    _add_deepstream(commands)
    return parser


def _add_deepstream(commands: Any) -> None:
    command = commands.add_parser(
        "deepstream",
        help="write DeepStream's configurations of the mask detector",
        description="Write DeepStream's configurations of the mask detector: what nvinfer has to "
        "know, an app for a camera and one for a video, and the labels. Paths in them count from "
        "their folder.",
        parents=[_catalog_options()],
    )
    command.set_defaults(run=_deepstream)
    command.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write them (the kit's deepstream; weights with a key need it)",
    )
    command.add_argument(
        "--video",
        metavar="URI",
        help="what the video app plays: a file, or a URI such as rtsp://CAMERA/STREAM",
    )
    command.add_argument(
        "--camera", type=int, default=0, metavar="N", help="the camera app's /dev/videoN (0)"
    )


def _shared_options() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, parents=[_catalog_options()])
    shared.add_argument("model", nargs="*", metavar="MODEL", help="work on these models only")
    shared.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="copy from what NGC's own command line downloaded here; no network is used",
    )
    shared.add_argument(
        "--accept-eula",
        action="store_true",
        help="accept the terms that plan names (also FACEKIT_ACCEPT_EULA=yes)",
    )
    shared.add_argument(
        "--force", action="store_true", help="build engines that are up to date too"
    )
    shared.add_argument(
        "--device",
        choices=("gpu", "cpu"),
        default="gpu",
        help="what the DALI pipelines shall run on (gpu)",
    )
    shared.add_argument(
        "--no-wait",
        action="store_true",
        help="do not wait for another converter at work on the same repository",
    )
    return shared


def _catalog_options() -> argparse.ArgumentParser:
    """Return the options that say what there is and what of it is chosen."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        help="the model repository (the kit's own; also FACEKIT_MODEL_REPOSITORY)",
    )
    shared.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="[MODEL=]NAME",
        help="which weights, for all models or one; repeatable (nvidia; also FACEKIT_WEIGHTS)",
    )
    shared.add_argument(
        "--models",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="networks of your own, as conversion/models.yaml describes; repeatable",
    )
    shared.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="where downloads are kept (weights; also FACEKIT_WEIGHTS_DIR)",
    )
    return shared


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = build_parser().parse_args(argv)
    # The container's first process is sent SIGTERM, and ignores it unless it says otherwise.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        code: int = args.run(args)
        return code
    except FacekitError as error:
        say(f"conversion: {error}")
        return EXIT_UNUSABLE
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        extra = _EXTRAS.get(package)
        if extra is None and package not in _OWN:
            raise
        say(f"conversion: {error.name} is not installed: {install_hint(extra or '')}")
        return EXIT_UNUSABLE
    except _Stopped:
        say("conversion: stopped by SIGTERM; engines that were there before still are")
        return _EXIT_SIGNAL + signal.SIGTERM
    except KeyboardInterrupt:
        say("conversion: stopped; engines that were there before still are")
        return _EXIT_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would fail again on its own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        what = "" if error.filename is None else f"{error.filename}: "
        say(f"conversion: {what}{error.strerror or error}")
        return EXIT_UNUSABLE
    finally:
        signal.signal(signal.SIGTERM, before)


def say(text: str) -> None:
    """Write a line about the progress."""
    _write(text, sys.stderr)


def _plan(args: argparse.Namespace) -> int:
    import json

    from conversion import choice, license, places, plan_text, planning
    from conversion.catalog_file import load
    from facekit.engines.machine import probe_machine

    repository = args.repository or places.model_repository()
    if args.commands:
        _write("\n".join(("```sh", *planning.command_lines(), "```")), sys.stdout)
        return 0
    jobs = choice.choose(load(args.models, repository=repository), args.weights, args.model)
    places.check_repository(repository, jobs)
    plan = planning.make_plan(
        jobs,
        planning.Circumstances(
            repository=repository,
            weights_dir=args.weights_dir or places.weights_dir(),
            machine=probe_machine(),
            accepted=args.accept_eula or license.accepted_by(),
            force=args.force,
            device=args.device,
            triton=args.triton,
        ),
    )
    text = plan_text.text(plan, _given(args))
    _write(json.dumps(plan.to_dict(), indent=2) if args.json else text, sys.stdout)
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
    from conversion import choice, license, places
    from conversion.catalog_file import load
    from conversion.ngc import api_key
    from conversion.stages import Options, run
    from facekit.engines.machine import probe_machine

    repository = args.repository or places.model_repository()
    jobs = choice.choose(load(args.models, repository=repository), args.weights, args.model)
    options = Options(
        repository=repository,
        weights_dir=args.weights_dir or places.weights_dir(),
        source=args.source,
        key=api_key() if args.command in ("fetch", "all") else None,
        accepted=args.accept_eula or license.accepted_by(),
        force=args.force,
        device=args.device,
        wait=not args.no_wait,
    )
    result = run(args.command, jobs, options, probe_machine(), say)
    _write(result.text(), sys.stdout)
    return EXIT_FAILED if result.failed else 0


def _deepstream(args: argparse.Namespace) -> int:
    from conversion import choice, deepstream, deepstream_source, places
    from conversion.catalog_file import load

    repository = (args.repository or places.model_repository()).absolute()
    catalog = load([path.absolute() for path in args.models], repository=repository)
    camera = deepstream_source.camera_source(args.camera)
    video = deepstream_source.video_source(args.video or deepstream_source.SAMPLE_VIDEO)
    (job,) = choice.choose(catalog, args.weights, [deepstream_source.MODEL])
    deepstream_source.check_output(job, args.output)
    weights_dir = (args.weights_dir or places.weights_dir()).absolute()
    detector = deepstream_source.read_detector(job, repository, weights_dir)
    output = (args.output or places.deepstream_dir()).resolve()
    files = deepstream.write(detector, output, camera=camera, video=video)
    for path, written in files.items():
        _write(f"{'written' if written else 'unchanged'}  {places.spoken(path)}", sys.stdout)
    return 0


def _write(text: str, stream: TextIO) -> None:
    # A tool's or a server's text may hold what a terminal can't show, or must not obey.
    shown = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
    encoding = stream.encoding or "utf-8"
    stream.write(shown.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped
