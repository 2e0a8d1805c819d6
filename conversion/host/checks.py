"""What a conversion needs of the host, each looked at and told in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from conversion.host.findings import Finding, State
from conversion.host.images import is_there, sources_digest, sources_of
from conversion.host.settings import Settings

_GB = 1e9
# nvcr.io/nvidia/tritonserver 24.x unpacked is 15 to 16 GB; while it is fetched its packed layers,
# about 8 GB, lie beside it.
_BASE_BYTES = 25 * _GB
_LAYERS_BYTES = 2 * _GB
# Downloads, two engines, and the engine under way.
_WORK_BYTES = 1 * _GB


def check_image(client: Any, settings: Settings) -> Finding:
    """Say whether the converter's image is there and built from these sources."""
    try:
        image = client.images.get(settings.image)
    except ImageNotFound:
        there = is_there(client, settings.base)
        text = f"{settings.image} is not there: it is built "
        text += "in minutes" if there else f"after {settings.base} (about 8 GB) is fetched"
        return Finding("image", State.TODO, text)
    size = f"{image.attrs.get('Size', 0) / _GB:.1f} GB"
    built_from = sources_of(image)
    if built_from == sources_digest(settings):
        return Finding("image", State.OK, f"{settings.image}, {size}")
    why = "not built by this command" if not built_from else "built from other sources"
    return Finding("image", State.TODO, f"{settings.image} was {why}: it is built again")


def check_disk(
    client: Any,
    settings: Settings,
    info: dict[str, Any],
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[Finding]:
    """Say whether the image and the files that are made have room."""
    findings = []
    needed = 0.0
    if not is_there(client, settings.image):
        needed = _LAYERS_BYTES + (0.0 if is_there(client, settings.base) else _BASE_BYTES)
    store = Path(str(info.get("DockerRootDir") or "/var/lib/docker"))
    remedy = ("docker system df      # what takes the space", "docker image prune    # frees some")
    findings.append(_room("disk, images", store, needed, free, remedy))
    folder = _existing(settings.weights_dir)
    findings.append(
        _room("disk, files", folder, _WORK_BYTES, free, (f"du -sh {folder}/*   # what takes it",))
    )
    return findings


def _room(
    about: str, path: Path, needed: float, free: Callable[[Path], int], remedy: tuple[str, ...]
) -> Finding:
    try:
        there = free(path)
    except OSError:
        return Finding(
            about,
            State.WARNING,
            f"can't look at {path} from here; {needed / _GB:.0f} GB are needed there",
        )
    text = f"{there / _GB:.1f} GB free at {path}"
    if there < needed:
        text += f", and {needed / _GB:.0f} GB are needed"
        return Finding(about, State.FAILED, text, remedy)
    return Finding(about, State.OK, text)


def check_folders(settings: Settings) -> list[Finding]:
    """Say whether the repository is one, and whether the container's user may write to it."""
    findings = []
    repository = settings.repository
    if not any(repository.glob("*/config.pbtxt")):
        findings.append(
            Finding(
                "repository",
                State.FAILED,
                f"{repository} holds no model (no */config.pbtxt)",
                ("set FACEKIT_MODEL_REPOSITORY in .env to a copy of model_repository",),
            )
        )
        return findings
    folders = [repository, *sorted(path for path in repository.glob("*/1") if path.is_dir())]
    if settings.weights_dir.is_dir():
        folders.append(settings.weights_dir)
    uid, gid = (int(part) for part in settings.user.split(":"))
    shut = [folder for folder in folders if not _may_write(folder, uid, gid)]
    if shut:
        names = " ".join(str(folder) for folder in dict.fromkeys(_tops(shut, settings)))
        owner = shut[0].stat()
        findings.append(
            Finding(
                "repository",
                State.FAILED,
                f"user {settings.user} of the container may not write {shut[0]}",
                (
                    f"sudo chown -R {settings.user} {names}",
                    f"or in .env: FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid}",
                ),
            )
        )
    else:
        findings.append(
            Finding("repository", State.OK, f"{repository}, files will belong to {settings.user}")
        )
    return findings


def _tops(shut: list[Path], settings: Settings) -> list[Path]:
    return [
        settings.weights_dir if folder == settings.weights_dir else settings.repository
        for folder in shut
    ]


def _may_write(folder: Path, uid: int, gid: int) -> bool:
    # For root too: the container drops the capability that opens every door.
    state = folder.stat()
    if state.st_uid == uid:
        return bool(state.st_mode & 0o200)
    if state.st_gid == gid:
        return bool(state.st_mode & 0o020)
    return bool(state.st_mode & 0o002)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_running(client: Any) -> Finding | None:
    """Say so if another converter is at work."""
    for label in ("facekit.role=converter", "com.docker.compose.service=converter"):
        for container in client.containers.list(filters={"label": label}):
            return Finding(
                "converter",
                State.WARNING,
                f"container {container.name} converts already; a second one waits for it",
                (f"docker logs --follow {container.name}",),
            )
    return None
