"""``scripts/convert``: check this machine, build the image, and run the converter in it."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import requests
from docker.errors import DockerException

from conversion.cli import HOST_ROOT_VARIABLE
from conversion.cli import main as converter
from conversion.host import base, checks, gpu
from conversion.host.checks import Finding, HostError, State
from conversion.host.compose import CONVERTER, CONVERTER_CPU, Compose, Settings, secret_file
from conversion.releases import tag_of
from facekit.command import EXIT_UNUSABLE
from facekit.errors import ConfigError, FacekitError
from facekit.text import show

_ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("plan", "fetch", "build", "serialize", "verify", "all")
_NEED_NO_GPU = ("plan", "fetch")
OPTIONS_WITH_VALUES = ("--weights", "--device", "--triton")
"""Options of the converter alone that are followed by a value, which may be named as a command."""

_HOST_ROOT = "/host"
_STOP_S = 10
_SIGKILL_CODE = 128 + signal.SIGKILL

_EPILOG = """\
Everything else goes to the converter in the container, where COMMAND is plan, fetch, build,
serialize, verify or all (the default); `scripts/convert plan --help` lists its options. Settings
come from the environment and from .env, as for docker compose; .env.example names them.

  scripts/convert --check                  check this machine, do nothing
  scripts/convert plan                     print what would be done, and why
  scripts/convert --accept-eula            NVIDIA's networks, after reading their license
  scripts/convert all --weights open       the kit's own networks: no account, any TensorRT
  scripts/convert --from DIR               from files that were downloaded elsewhere
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/convert",
        usage="scripts/convert [OPTIONS] [COMMAND] [OPTIONS OF COMMAND] [MODEL ...]",
        description="Make TensorRT engines in a container, after checking that it can be done.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--check", action="store_true", help="do the checks only")
    parser.add_argument("--gpu", metavar="ID", help="index or UUID of the GPU; none for no GPU")
    build = parser.add_mutually_exclusive_group()
    build.add_argument("--build", action="store_true", help="build the image from the start")
    build.add_argument("--no-build", action="store_true", help="use the image as it is")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="files downloaded elsewhere"
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
    command: Sequence[str] | None = None,
) -> int:
    """Run; return the converter's exit code, or 2 when it cannot be run at all.

    The clone, the engine's client and the command that Compose is called by can be given too.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(list(sys.argv[1:] if argv is None else argv))
    name, rest = _split(rest)
    if {"-h", "--help"} & set(rest):
        if name is not None:
            return converter([name, "--help"])
        sys.stdout.write(parser.format_help())
        return 0
    try:
        return _run(args, [name or "all", *rest], Compose(root, environ, command), client)
    except FacekitError as error:
        _say(error)
        return EXIT_UNUSABLE
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace, arguments: Sequence[str], compose: Compose, client: Any) -> int:
    volumes, paths = _mounts(args)
    client = client or checks.connect(compose.environ)
    info = client.info()
    rootless = any("name=rootless" in option for option in info.get("SecurityOptions") or [])
    # Under rootless Docker, root in the container is the user outside, and nobody else is.
    user = "0" if rootless else None
    settings = compose.settings(
        FACEKIT_MODEL_REPOSITORY=_absolute(args.repository),
        FACEKIT_WEIGHTS_DIR=_absolute(args.weights_dir),
        FACEKIT_GPU=args.gpu,
        FACEKIT_UID=user,
        FACEKIT_GID=user,
    )
    needs_gpu = arguments[0] not in _NEED_NO_GPU and settings.gpu != "none"
    asked_for = tag_of(settings.base) if compose.is_set("TRITON_IMAGE") else ""
    weights = base.selected_weights(args, arguments, settings, asked_for)
    # nvidia-smi tells of this machine; the engine may be on another.
    is_local = compose.environ.get("DOCKER_HOST", "unix:").startswith("unix:")
    sees = is_local and settings.gpu != "none"
    gpus, driver = base.host_gpus(settings.gpu) if sees else ([], None)
    default_base = settings.base
    if weights and not compose.is_set("TRITON_IMAGE"):
        settings = compose.settings(TRITON_IMAGE=base.best_image(weights, gpus, driver))
    findings = [checks.check_engine(client)]
    if needs_gpu:
        findings.append(gpu.check_runtime(info))
    findings += base.check_base(settings, weights, gpus, driver)
    findings += checks.check_disk(client, settings, str(info.get("DockerRootDir") or "/"))
    if not rootless or os.getuid() == 0:
        findings.append(checks.check_folders(settings))
    image = checks.check_image(client, settings)
    for finding in (*findings, image):
        _say(finding)
    if any(finding.state is State.FAILED for finding in findings):
        return EXIT_UNUSABLE
    if args.check and image.state is State.TODO:
        return 0
    if not args.check:
        _build(args, compose, settings, client)
    if needs_gpu:
        found = gpu.check_gpu(client, settings)
        _say(found)
        if found.state is State.FAILED:
            return EXIT_UNUSABLE
    if args.check:
        return 0
    # `plan` needs no GPU, but knows more about one that it sees.
    sees_gpu = arguments[0] == "plan" and settings.gpu != "none" and gpu.has_runtime(info)
    service = CONVERTER if needs_gpu or sees_gpu else CONVERTER_CPU
    code = _convert(compose, settings, client, [*volumes, service, *arguments, *paths])
    if code == 0 and arguments[0] == "all":
        build = ""
        if settings.base != default_base:
            _say(f"in .env, for the server too: TRITON_IMAGE={settings.base}")
            build = "--build "
        _say(f"next: docker compose up {build}triton-server")
    return code


def _mounts(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return Compose's options that mount the paths given, and the converter's for them."""
    folders: dict[Path, None] = {}
    arguments: list[str] = []
    for name, path in (("--from", args.source), *(("--models", path) for path in args.models)):
        if path is None:
            continue
        path = path.expanduser().resolve()
        if not path.exists():
            raise ConfigError(f"{name}: {path} does not exist")
        if ":" in str(path):
            raise ConfigError(f"{name}: {path}: Docker cannot mount a path with a colon")
        # A file's folder comes along: the networks that a file of models names are in it.
        folders[path if path.is_dir() else path.parent] = None
        arguments += [name, f"{_HOST_ROOT}{path}"]
    volumes = [option for f in folders for option in ("--volume", f"{f}:{_HOST_ROOT}{f}:ro")]
    return volumes, arguments


def _build(args: argparse.Namespace, compose: Compose, settings: Settings, client: Any) -> None:
    """Build the image; where it is up to date, Docker's cache makes that seconds."""
    there = checks.has_image(client, settings.image)
    # Without its base an image, as one that was loaded from a file, can't be built again.
    fits = checks.is_built(client, settings)
    offline = fits and not args.build and not checks.has_image(client, settings.base)
    if offline or (there and args.no_build):
        _say(Finding("image", State.WARNING, f"{settings.image} is used as it is"))
        return
    if args.no_build:
        raise HostError("image", f"{settings.image} does not exist", "leave out --no-build")
    options = ["--no-cache"] if args.build else []
    if compose.call("build", *options, CONVERTER) != 0:
        registry = settings.base.partition("/")[0]
        raise HostError(
            "image",
            f"building it on {settings.base} failed; the lines above say why",
            f"docker login {registry}   # if it was refused; NGC: user $oauthtoken, your NGC key",
            "set TRITON_IMAGE in .env to a tag of conversion/releases.yaml   # if it was not found",
            "docker system df   # if there is no space left",
            "no internet here: `docker save` the image elsewhere, `docker load` it here",
        )


def _convert(compose: Compose, settings: Settings, client: Any, words: Sequence[str]) -> int:
    """Run the converter to its end, and return its exit code; 130 if it was interrupted."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    name = f"facekit-convert-{os.getpid()}"
    options = ["--name", name, "-e", f"{HOST_ROOT_VARIABLE}={_HOST_ROOT}"]
    # The engine would create a missing folder as root's own.
    settings.weights_dir.mkdir(parents=True, exist_ok=True)
    # The signals outermost: whichever ends this, the key does not stay on the disk.
    with _interruptible(), contextlib.ExitStack() as stack:
        if settings.key is not None:
            # As a file, `docker inspect` and the list of processes do not show it.
            path = stack.enter_context(secret_file(settings.key))
            compose.environ |= {"NGC_API_KEY": "", "NGC_API_KEY_FILE": str(path)}
        try:
            options += [] if terminal else ["-T"]
            code = compose.call("run", *options, *words, terminal=terminal)
            return _exit_code(client, settings, name, code)
        except KeyboardInterrupt:
            # A terminal that was closed takes no more lines.
            with contextlib.suppress(OSError):
                _say("stopping the converter; partial files are never used")
            with contextlib.suppress(DockerException, requests.RequestException):
                client.containers.get(name).stop(timeout=_STOP_S)
            return 130
        finally:
            with contextlib.suppress(DockerException, requests.RequestException):
                client.containers.get(name).remove(force=True)


def _exit_code(client: Any, settings: Settings, name: str, code: int) -> int:
    if code != _SIGKILL_CODE:
        return code
    try:
        out_of_memory = client.containers.get(name).attrs["State"].get("OOMKilled")
    except (DockerException, requests.RequestException):
        out_of_memory = False
    if out_of_memory:
        raise HostError(
            "container",
            f"it used up its memory ({settings.memory}) and was killed",
            "set FACEKIT_CONVERTER_MEMORY in .env to more, such as 32g",
        )
    text = "it was killed; the repository is unchanged, or has complete engines only"
    raise HostError("container", text, "scripts/convert   # goes on where it stopped")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGTERM, and the end of the terminal, end the block as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        # Only once: another signal must not interrupt the cleanup.
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What is ignored stays so: that is what nohup is for.
    before = {
        number: handler
        for number in (signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the command, wherever it stands, and the other words."""
    for index, word in enumerate(words):
        if word in COMMANDS and (not index or words[index - 1] not in OPTIONS_WITH_VALUES):
            return word, [*words[:index], *words[index + 1 :]]
    return None, list(words)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().resolve())


def _say(message: object) -> None:
    for line in str(message).splitlines():
        show(f"convert: {line}", sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
