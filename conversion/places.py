"""Where things lie on this machine, and how they are named to people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion.catalog import Job, Weights
from conversion.errors import CatalogError, ConversionError

REPOSITORY_VARIABLE = "FACEKIT_MODEL_REPOSITORY"
WEIGHTS_DIR_VARIABLE = "FACEKIT_WEIGHTS_DIR"

_CLONE = Path(__file__).resolve().parent.parent


def model_repository(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the model repository: ``FACEKIT_MODEL_REPOSITORY``, or the clone's own."""
    return Path(environment.get(REPOSITORY_VARIABLE) or _CLONE / "model_repository")


def weights_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where downloads are kept: ``FACEKIT_WEIGHTS_DIR``, or ``weights`` in the clone."""
    return Path(environment.get(WEIGHTS_DIR_VARIABLE) or _CLONE / "weights")


def deepstream_dir() -> Path:
    """Return where DeepStream's configurations lie: ``deepstream`` in the clone."""
    return _CLONE / "deepstream"


def folder_of(weights: Weights, directory: Path) -> Path:
    """Return the folder of a network: below ``directory`` for a download."""
    if weights.folder is not None:
        return weights.folder
    assert weights.ngc is not None
    return directory / weights.ngc.folder


def network_of(weights: Weights, directory: Path) -> Path | None:
    """Return a network's file, if it and what belongs to it are there already."""
    folder = folder_of(weights, directory)
    names = [weights.network, *([weights.calibration] if weights.calibration else [])]
    sizes = {file.name: file.size for file in weights.ngc.files} if weights.ngc else {}
    for name in names:
        path = folder / name
        if not path.is_file() or sizes.get(name) not in (None, path.stat().st_size):
            return None
    return folder / weights.network


def check_repository(repository: Path, jobs: Sequence[Job]) -> None:
    """See to it that the folder is a model repository with the models that shall get an engine.

    Raises:
        CatalogError: it is not.
    """
    if not repository.is_dir():
        raise CatalogError(
            f"{repository}: there is no such folder; name the model repository with --repository "
            f"or {REPOSITORY_VARIABLE}"
        )
    for job in jobs:
        if not (repository / job.model.name).is_dir():
            raise CatalogError(
                f"{repository}: has no model {job.model.name}; is it a model repository? A model "
                f"of your own needs a folder {job.model.name} with its config.pbtxt there"
            )


def check_writable(folder: Path) -> None:
    """See to it that files can be made in a folder, and make it where it is missing.

    Raises:
        ConversionError: they can't; tells who asks, whose it is, and what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(
            f"{folder}: user {os.geteuid()} can't make it: {error.strerror or error}"
        ) from error
    if problem := _unwritable(folder):
        raise ConversionError(f"{folder}: {problem}")


def refused(folder: Path, error: OSError) -> str:
    """Return why a file can't be made in a folder, and what to do."""
    there = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if problem := _unwritable(there):
        return f"{there}: {problem}"
    words = "see who owns what lies there, and how much room is left"
    return f"{folder}: {error.strerror or error}; {words}"


def _unwritable(folder: Path) -> str | None:
    """Return why a folder can't be written to, and what to do; ``None`` if it can be."""
    user = os.geteuid()
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "is mounted read-only, and the converter writes there"
    about = folder.stat()
    start = f"user {user} may not write there, it belongs to user {about.st_uid}. "
    if about.st_uid == 0:
        # As Docker leaves a folder that was missing when it was mounted.
        return f"{start}On the host: sudo chown {user} on that folder"
    return f"{start}In .env: FACEKIT_UID={about.st_uid} and FACEKIT_GID={about.st_gid}"


def spoken(path: Path) -> str:
    """Return a path for people: from the working directory where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def counted(number: int, noun: str) -> str:
    """Return how many there are of something.

    >>> counted(1, "file"), counted(0, "file")
    ('1 file', '0 files')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")
