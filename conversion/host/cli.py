"""``scripts/convert``: look at the machine, make the image, run the job, tell what was made."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conversion.cli import main as converter
from conversion.host.checks import check_disk, check_folders, check_image, check_running
from conversion.host.engine import check_engine, connect
from conversion.host.findings import Finding, HostError, State
from conversion.host.gpu import check_gpu, check_runtime, has_runtime
from conversion.host.images import make_image
from conversion.host.job import Job, run_job
from conversion.host.report import look, report
from conversion.host.settings import Settings, load_settings
from facekit.errors import ConfigError, FacekitError

_ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("plan", "fetch", "build", "serialize", "verify", "all")
# What these say is better with the GPU, but they do their work without.
_NEED_NO_GPU = ("plan", "fetch")
OPTIONS_WITH_VALUES = ("--weights", "--device", "--triton")
"""Options of the converter alone that are followed by a value, which may be named as a command."""

_EPILOG = """\
Everything else goes to the converter in the container, where COMMAND is plan, fetch, build,
serialize, verify or all (the default); `scripts/convert plan --help` lists its options. Settings
come from the environment and from .env, as for docker compose; .env.example names them.

  scripts/convert --check                  look at this machine, do nothing
  scripts/convert plan                     say what would be done, and why
  scripts/convert --accept-eula            NVIDIA's networks, after reading their license
  scripts/convert all --weights open       the kit's own networks: no account, any TensorRT
  scripts/convert --from DIR               from files that were downloaded elsewhere
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/convert",
        usage="scripts/convert [OPTIONS] [COMMAND] [OPTIONS OF COMMAND] [MODEL ...]",
        description="Make TensorRT engines in a container, and check before that it can be done.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--check", action="store_true", help="do the checks only")
    parser.add_argument("--gpu", metavar="ID", help="index or UUID of the GPU; none for no GPU")
    build = parser.add_mutually_exclusive_group()
    build.add_argument("--build", action="store_true", help="build the image again")
    build.add_argument("--no-build", action="store_true", help="use the image as it is")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="where files lie that were downloaded elsewhere",
    )
    parser.add_argument(
        "--models", action="append", default=[], type=Path, metavar="FILE", help="your networks"
    )
    parser.add_argument("--repository", type=Path, metavar="DIR", help="the models to fill")
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help="where downloads are kept")
    return parser


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    root: Path = _ROOT,
    client: Any = None,
) -> int:
    """Run; return 0, 1 when some of the work failed, 2 when it can't be done at all.

    Args:
        argv: the command line.
        environ: the environment.
        root: the clone.
        client: of the engine; made here when left out.
    """
    parser = _parser()
    words = list(sys.argv[1:] if argv is None else argv)
    args, rest = parser.parse_known_args(words)
    command, rest = _split(rest)
    if {"-h", "--help"} & set(rest):
        if command is not None:
            return converter([command, "--help"])
        sys.stdout.write(parser.format_help())
        return 0
    try:
        settings = load_settings(
            root,
            environ,
            repository=_absolute(args.repository),
            weights_dir=_absolute(args.weights_dir),
            gpu=args.gpu,
        )
        job = _job(args, [command or "all", *rest], settings)
        client = client or connect(environ)
        settings = _fit_rootless(client, settings)
        if not _checks(client, settings, job, args):
            return 2
        if args.check:
            return 0
        if job.arguments[0] == "plan" and settings.gpu and has_runtime(client.info()):
            # It needs none, but what it says of a GPU that it sees is nearer to the truth.
            job = dataclasses.replace(job, gpu=True)
        before = look(settings.repository)
        try:
            code = run_job(client, settings, job)
        finally:
            # Also of a run that was killed: what it made before is there.
            if job.arguments[0] not in _NEED_NO_GPU:
                _say_all(report(settings.repository, before, look(settings.repository)))
        if code == 0 and job.arguments[0] == "all":
            _say("next: docker compose up triton-server")
    except HostError as error:
        _say_all(error.finding.lines())
        return 2
    except FacekitError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the command, wherever it stands, and the other words."""
    for index, word in enumerate(words):
        if word in COMMANDS and (not index or words[index - 1] not in OPTIONS_WITH_VALUES):
            return word, [*words[:index], *words[index + 1 :]]
    return None, list(words)


def _job(args: argparse.Namespace, words: Sequence[str], settings: Settings) -> Job:
    """Return the job; paths of this machine become their places in the container."""
    arguments = list(words)
    folders: dict[str, Path] = {}
    for name, path in (("--from", args.source), *(("--models", path) for path in args.models)):
        if path is None:
            continue
        path = path.expanduser().resolve()
        if not path.exists():
            raise ConfigError(f"{name}: {path} does not exist")
        # A file's folder comes along: what a file of models names lies beside it.
        folder = path if path.is_dir() else path.parent
        place = f"/host{len(folders)}"
        folders[place] = folder
        arguments += [name, place if path.is_dir() else f"{place}/{path.name}"]
    gpu = arguments[0] not in _NEED_NO_GPU and bool(settings.gpu)
    return Job(arguments=arguments, folders=folders, gpu=gpu)


def _fit_rootless(client: Any, settings: Settings) -> Settings:
    """Under rootless Docker, root in the container is the user outside, and nobody else is."""
    options = client.info().get("SecurityOptions") or []
    if any("name=rootless" in option for option in options):
        return dataclasses.replace(settings, user="0:0")
    return settings


def _checks(client: Any, settings: Settings, job: Job, args: argparse.Namespace) -> bool:
    """Do the checks, and make the image where it is missing; return whether the job can run."""
    info = client.info()
    found = [check_engine(client)]
    if job.gpu:
        found.append(check_runtime(info))
    found += [*check_disk(client, settings, info), *_folders(settings, info)]
    running = check_running(client)
    found += [running] if running else []
    image = check_image(client, settings)
    if args.no_build and image.state is State.TODO:
        image = dataclasses.replace(image, state=State.WARNING, text=f"{settings.image}, as it is")
    found.append(image)
    for finding in found:
        _say_all(finding.lines())
    if any(finding.state is State.FAILED for finding in found):
        return False
    if args.check and image.state is State.TODO:
        if job.gpu:
            _say_all(Finding("GPU", State.TODO, "is looked at when the image is there").lines())
        return True
    if image.state is State.TODO or args.build:
        make_image(client, settings, _say)
    if not job.gpu:
        return True
    gpu = check_gpu(client, settings)
    _say_all(gpu.lines())
    return gpu.state is not State.FAILED


def _folders(settings: Settings, info: Mapping[str, Any]) -> list[Finding]:
    if settings.user == "0:0" and os.getuid() != 0:
        # Rootless: whatever this user may write.
        return []
    return check_folders(settings)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().resolve()


def _say_all(lines: Sequence[str]) -> None:
    for line in lines:
        _say(line)


def _say(line: str) -> None:
    sys.stderr.write(f"convert: {line}\n")
    sys.stderr.flush()
