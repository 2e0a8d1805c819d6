"""What a conversion needs of the host: each check gives a line, and the command that mends it."""

import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import DockerException, ImageNotFound

from conversion.errors import ConversionError, causes
from conversion.host.compose import Settings
from conversion.releases import TAG_VARIABLE, tag_of

# Docker 19.03: the first whose API has device requests, which is how a GPU is asked for.
_MIN_API = (1, 40)
_INSTALL = "https://docs.docker.com/engine/install/"
_TIMEOUT_S = 20
_GB = 1e9
# nvcr.io/nvidia/tritonserver 24.x unpacked is 15 to 16 GB; while it is fetched its packed layers,
# about 8 GB, are beside it.
_BASE_BYTES = 25 * _GB
_LAYERS_BYTES = 2 * _GB
# Downloads, two engines, and the engine that is being built.
_WORK_BYTES = 1 * _GB


class State(str, Enum):
    """How a check ended; the value is the first word of its line."""

    OK = "ok"
    TODO = "todo"
    """Missing, and done by this command itself."""
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One check's result: what was checked, how it ended, what there is, and what to do.

    >>> print(Finding("disk", State.FAILED, "full", ("docker system df",)))
    FAIL  disk           full
                         -> docker system df
    """

    about: str
    state: State
    text: str
    remedy: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.state.value:<4}  {self.about:<14} {self.text}"]
        return "\n".join([*lines, *(f"{'':21}-> {line}" for line in self.remedy)])


class HostError(ConversionError):
    """The converter can't be run; the message is what a check found."""

    def __init__(self, about: str, text: str, *remedy: str) -> None:
        super().__init__(str(Finding(about, State.FAILED, text, remedy)))


def connect(environ: Mapping[str, str] = os.environ) -> Any:
    """Return a client of the engine that the ``docker`` command would use.

    Raises HostError if there is none, or this user may not use it.
    """
    address = environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if environ.get("DOCKER_HOST"):
            _try_socket(address)
            client = docker.from_env(environment=dict(environ), timeout=_TIMEOUT_S)
        else:
            # Rootless Docker and Docker Desktop listen elsewhere, and say so in a context.
            context = ContextAPI.get_current_context()
            address = context.Host or address
            _try_socket(address)
            client = docker.DockerClient(
                base_url=address, tls=context.TLSConfig or False, timeout=_TIMEOUT_S
            )
        client.ping()
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        raise _unreachable(address, error) from error
    # A first start with a GPU waits for the driver, a busy disk for the layers.
    client.api.timeout = 600
    return client


def _try_socket(address: str) -> None:
    """Connect to a local engine's socket, whose refusal says more than the SDK's."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(_TIMEOUT_S)
            local.connect(address.removeprefix("unix://"))


def _unreachable(address: str, error: BaseException) -> HostError:
    known: dict[type[BaseException], tuple[str, str]] = {
        PermissionError: (
            "your user may not use it",
            "sudo usermod -aG docker $USER, then log in again; or run this with sudo",
        ),
        FileNotFoundError: (
            "not installed, or not started",
            f"sudo systemctl start docker, or install it: {_INSTALL}",
        ),
        ConnectionRefusedError: ("not running: nothing listens", "sudo systemctl start docker"),
        TimeoutError: (f"no answer within {_TIMEOUT_S} s", "sudo systemctl restart docker"),
        requests.Timeout: (f"no answer within {_TIMEOUT_S} s", "sudo systemctl restart docker"),
    }
    for cause in causes(error):
        if type(cause) in known:
            text, remedy = known[type(cause)]
            return HostError("Docker", f"{text} ({address})", remedy)
    remedy = "docker version   # says more; DOCKER_HOST and `docker context ls` choose it"
    return HostError("Docker", f"not reachable at {address}: {error}", remedy)


def check_engine(client: Any) -> Finding:
    """Return which engine this is, and whether it is new enough and runs Linux containers."""
    version = client.version()
    text = f"{version.get('Version', '?')} on {version.get('Os', '?')} {version.get('Arch', '?')}"
    api = str(version.get("ApiVersion", "0.0"))
    if tuple(int(part) for part in api.split(".")[:2]) < _MIN_API:
        text += f": its API {api} is older than 1.40 (Docker 19.03), which has no GPUs"
        return Finding("Docker", State.FAILED, text, (f"install a newer one: {_INSTALL}",))
    if version.get("Os") != "linux":
        remedy = "switch Docker Desktop to Linux containers"
        return Finding("Docker", State.FAILED, f"{text}: the image is for Linux", (remedy,))
    return Finding("Docker", State.OK, text)


def has_image(client: Any, name: str) -> bool:
    """Return whether the engine has an image of this name."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def is_built(client: Any, settings: Settings) -> bool:
    """Return whether the engine has the converter's image, and built on the base of these settings.

    That is told by NVIDIA's own variable, which an image of another kind has not.
    """
    if not has_image(client, settings.image):
        return False
    variables = client.images.get(settings.image).attrs["Config"]["Env"] or []
    tags = [text.partition("=")[2] for text in variables if text.startswith(f"{TAG_VARIABLE}=")]
    return tag_of(settings.base) in ("", *tags) or not tags


def check_image(client: Any, settings: Settings) -> Finding:
    """Return whether the converter's image has to be built."""
    if is_built(client, settings):
        return Finding("image", State.OK, settings.image)
    there = has_image(client, settings.base)
    when = "in minutes" if there else f"after {settings.base} (about 8 GB) is fetched"
    why = "is of another base" if has_image(client, settings.image) else "does not exist"
    return Finding("image", State.TODO, f"{settings.image} {why}: it is built {when}")


def check_disk(
    client: Any,
    settings: Settings,
    root: str,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[Finding]:
    """Return whether there is space for the image, in the engine's ``root``, and for the files."""
    needed = 0.0
    if not is_built(client, settings):
        needed = _LAYERS_BYTES + (0.0 if has_image(client, settings.base) else _BASE_BYTES)
    usage = ("docker system df      # what takes the space", "docker image prune    # frees some")
    folder = next(
        path for path in (settings.weights_dir, *settings.weights_dir.parents) if path.exists()
    )
    files = (f"du -sh {folder}/*   # what takes the space",)
    return [
        _space("disk, images", Path(root), needed, free, usage),
        _space("disk, files", folder, _WORK_BYTES, free, files),
    ]


def _space(
    about: str, path: Path, needed: float, free: Callable[[Path], int], remedy: tuple[str, ...]
) -> Finding:
    try:
        there = free(path)
    except OSError:
        text = f"{path} cannot be checked from here; {needed / _GB:.0f} GB are needed there"
        return Finding(about, State.WARNING, text)
    text = f"{there / _GB:.1f} GB free at {path}"
    if there >= needed:
        return Finding(about, State.OK, text)
    return Finding(about, State.FAILED, f"{text}, and {needed / _GB:.0f} GB are needed", remedy)


def check_folders(settings: Settings) -> Finding:
    """Return whether the repository is one, and whether the container's user may write to it."""
    repository, user = settings.repository, settings.user
    if not any(repository.glob("*/config.pbtxt")):
        text = f"{repository} contains no models (no */config.pbtxt)"
        remedy = "set FACEKIT_MODEL_REPOSITORY in .env to a copy of model_repository"
        return Finding("repository", State.FAILED, text, (remedy,))
    uid, gid = map(int, user.split(":"))
    for folder in (repository, *sorted(repository.glob("*/1")), settings.weights_dir):
        if folder.is_dir() and not _may_write(folder, uid, gid):
            top = settings.weights_dir if folder == settings.weights_dir else repository
            owner = folder.stat()
            return Finding(
                "repository",
                State.FAILED,
                f"user {user} of the container may not write to {folder}",
                (
                    f"sudo chown -R {user} {top}",
                    f"or in .env: FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid}",
                ),
            )
    return Finding("repository", State.OK, f"{repository}, files will belong to {user}")


def _may_write(folder: Path, uid: int, gid: int) -> bool:
    # For root too: the container drops the capability that lets it write anywhere.
    state = folder.stat()
    bit = 0o200 if state.st_uid == uid else 0o020 if state.st_gid == gid else 0o002
    return bool(state.st_mode & bit)
