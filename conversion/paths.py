"""Folders of the converter: where they are, whether they can be used, and how they are shown."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from conversion.catalog import Job
from conversion.errors import CatalogError, ConversionError
from facekit import files

REPOSITORY_VARIABLE = "FACEKIT_MODEL_REPOSITORY"
WEIGHTS_DIR_VARIABLE = "FACEKIT_WEIGHTS_DIR"

Say = Callable[[str], None]
"""Takes a line for people."""

_CLONE = Path(__file__).resolve().parent.parent


def model_repository(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the model repository: ``FACEKIT_MODEL_REPOSITORY``, or the clone's own."""
    return Path(environment.get(REPOSITORY_VARIABLE) or _CLONE / "model_repository")


def weights_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of downloads: ``FACEKIT_WEIGHTS_DIR``, or ``weights`` in the clone."""
    return Path(environment.get(WEIGHTS_DIR_VARIABLE) or _CLONE / "weights")


def deepstream_dir() -> Path:
    """Return the folder of DeepStream's configurations: ``deepstream`` in the clone."""
    return _CLONE / "deepstream"


def check_repository(repository: Path, jobs: Sequence[Job]) -> None:
    """Raise CatalogError unless a folder is a model repository that has the models of the jobs."""
    if not repository.is_dir():
        raise CatalogError(
            f"{repository}: no such folder; name the model repository with --repository or "
            f"{REPOSITORY_VARIABLE}"
        )
    for job in jobs:
        if not (repository / job.model.name).is_dir():
            raise CatalogError(
                f"{repository}: has no model {job.model.name}; is it a model repository? A model "
                f"of your own needs a folder {job.model.name} with its config.pbtxt there"
            )


def check_writable(folder: Path) -> None:
    """Create a folder where it is missing; raises ConversionError if it can't be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.check_writable(folder)
    except OSError as error:
        raise ConversionError(not_writable(folder, error)) from error


def not_writable(path: Path, error: OSError) -> str:
    """Return why a file or folder cannot be written, and what to do."""
    reason = f"{path}: cannot be written: {error.strerror or error}"
    folder = next(each for each in (path, *path.parents) if os.access(each, os.F_OK))
    if not isinstance(error, PermissionError):
        return f"{reason}; check that there is free space, and who owns {folder}"
    owner, user, group = folder.stat(), os.geteuid(), os.getegid()
    reason += f"; this is user {user}:{group}, and {folder} belongs to "
    if owner.st_uid == user:
        return f"{reason}it: on the host, chmod u+rwx that folder"
    reason += f"user {owner.st_uid}:{owner.st_gid}"
    if owner.st_uid == 0:
        # As Docker leaves a folder that was missing when it was mounted.
        return f"{reason}: on the host, sudo chown -R {user}:{group} that folder"
    return f"{reason}: in .env, FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid}"


def display_path(path: Path) -> str:
    """Return a path for people: relative to the working directory where it is in it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)
