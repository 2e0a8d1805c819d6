"""The converter's image: is it there, is it of these sources, and how it is made."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from docker.errors import DockerException, ImageNotFound

from conversion.host.findings import Finding, HostError, State
from conversion.host.pulling import PullProgress
from conversion.host.settings import Settings

DOCKERFILE = "Dockerfile.converter"
LABEL = "facekit.sources"
# What the Dockerfile copies; nothing else of the clone goes to the engine.
_FILES = (DOCKERFILE, "pyproject.toml", "LICENSE")
_FOLDERS = ("facekit", "conversion")
_LAST_LINES = 15

Say = Callable[[str], None]


def is_there(client: Any, name: str) -> bool:
    """Whether the engine holds an image of this name."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


def sources_of(image: Any) -> str:
    """Return the digest of the sources that an image was built from; "" where it has none."""
    return str((image.labels or {}).get(LABEL, ""))


def source_files(root: Path) -> list[Path]:
    """Return the files that the image is built from, in a fixed order."""
    found = [root / name for name in _FILES]
    for folder in _FOLDERS:
        found += [
            path
            for path in (root / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
        ]
    return sorted(found)


def sources_digest(settings: Settings) -> str:
    """Return a digest of all that the image is made of: files, base and DALI version."""
    digest = hashlib.sha256(f"{settings.base}\n{settings.dali}\n".encode())
    for path in source_files(settings.root):
        content = path.read_bytes()
        name = path.relative_to(settings.root).as_posix()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def make_image(client: Any, settings: Settings, say: Say) -> None:
    """Fetch the base if it is missing, and build the image.

    Raises:
        HostError: one of them failed; says why and what to do.
    """
    if not is_there(client, settings.base):
        _pull(client, settings, say)
    say(f"building {settings.image} on {settings.base} with DALI {settings.dali}")
    last: deque[str] = deque(maxlen=_LAST_LINES)
    arguments = {
        "TRITON_IMAGE": settings.base,
        "DALI_VERSION": settings.dali,
        "FACEKIT_SOURCES": sources_digest(settings),
    }
    try:
        events = client.api.build(
            fileobj=_context(settings.root),
            custom_context=True,
            dockerfile=DOCKERFILE,
            tag=settings.image,
            buildargs=arguments,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=None,
        )
        for line in _lines(events):
            if line.startswith("Step "):
                say(f"  {_short(line)}")
            last.append(line)
    except _BuildError as error:
        raise HostError(_build_failed(str(error), last)) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise HostError(_build_failed(str(error), last)) from error


class _BuildError(Exception):
    """What the engine said when a step failed."""


def _lines(events: Iterator[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if "error" in event:
            raise _BuildError(str(event["error"]).strip())
        for line in str(event.get("stream", "")).splitlines():
            if line.strip():
                yield line.rstrip()


def _short(line: str, width: int = 90) -> str:
    line = " ".join(line.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _build_failed(said: str, last: deque[str]) -> Finding:
    text = f"building it failed: {said}"
    if "no space left on device" in said:
        return Finding("image", State.FAILED, text, ("docker system df   # what takes the space",))
    shown = tuple(line.strip() for line in last if not line.startswith((" --->", "Removing ")))
    return Finding(
        "image",
        State.FAILED,
        text,
        (
            *(f"| {line}" for line in shown),
            "docker compose build converter   # the same with all its output",
        ),
    )


def _context(root: Path) -> io.BytesIO:
    """Return the files of the image as a tar, each as root's own and without a date.

    Dates and owners are left out, so that the engine's cache holds from clone to clone.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in source_files(root):
            content = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def _pull(client: Any, settings: Settings, say: Say) -> None:
    say(f"fetching {settings.base} (about 8 GB, once)")
    name, _, tag = settings.base.rpartition(":")
    if not name or "/" in tag:
        name, tag = settings.base, "latest"
    progress = PullProgress(say)
    try:
        for event in client.api.pull(name, tag=tag, stream=True, decode=True):
            if "error" in event:
                raise _BuildError(str(event["error"]).strip())
            progress.update(event)
    except (_BuildError, DockerException, requests.RequestException, OSError) as error:
        raise HostError(_pull_failed(settings.base, str(error))) from error


def _pull_failed(base: str, said: str) -> Finding:
    if "no space left on device" in said:
        remedy: tuple[str, ...] = ("docker system df   # what takes the space",)
    elif "unauthorized" in said or "denied" in said:
        registry = base.split("/", 1)[0]
        remedy = (f"docker login {registry}   # NGC: user $oauthtoken, password your NGC key",)
    elif "not found" in said or "manifest unknown" in said:
        remedy = ("set TRITON_IMAGE in .env to a tag that conversion/releases.yaml lists",)
    else:
        remedy = (
            f"docker pull {base}   # try again: layers that are there are kept",
            "no internet here: `docker save` it on another machine, `docker load` it on this one",
        )
    return Finding("base image", State.FAILED, f"{base} can't be fetched: {said}", remedy)
