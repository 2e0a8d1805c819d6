"""The model repository of a server: where it is, and whether the server may read it."""

from __future__ import annotations

import os
from pathlib import Path

from facekit.errors import SetupError
from facekit.serving.paths import is_plain
from facekit.serving.runtime import PACKAGE

# Without its configuration a folder counts for no model; the last are enough for some backends.
_FILES = ("config.pbtxt", "configs/cpu.pbtxt", "1/model.onnx", "1/model.plan", "1/model.py")


def default_model_repository() -> Path:
    """Return ``FACEKIT_MODEL_REPOSITORY``, or the ``model_repository`` beside the package."""
    return Path(os.environ.get("FACEKIT_MODEL_REPOSITORY") or PACKAGE.parent / "model_repository")


def check_repository(repository: Path) -> None:
    """Check that this process can list every model and open its files.

    Raises:
        SetupError: there is no such folder, or something in it can't be read.
    """
    try:
        if not repository.is_dir():
            raise SetupError(
                f"The model repository {repository} does not exist: give --model-repository or "
                f"set FACEKIT_MODEL_REPOSITORY."
            )
        for model in sorted(repository.iterdir()):
            for folder in (model, *_folders(model)):
                for entry in folder.iterdir() if folder.is_dir() else ():
                    # Hidden ones are a converter's, still at work.
                    if entry.is_file() and not entry.name.startswith("."):
                        entry.open("rb").close()
        models = [
            model
            for model in sorted(repository.iterdir())
            if any((model / name).is_file() for name in _FILES)
        ]
        for model in models:
            if not is_plain(model.name):
                raise SetupError(
                    f"{model}: a model's folder is named with A-Z a-z 0-9 _ . - only: rename it."
                )
        if not models:
            raise SetupError(
                f"{repository} holds no model: see that it is the model repository "
                f"(FACEKIT_MODEL_REPOSITORY; Docker makes a folder that does not exist)."
            )
    except OSError as error:
        raise SetupError(
            f"The model repository can't be read by user {os.geteuid()}: {error.filename}: "
            f"{error.strerror}. Let everyone read it: chmod -R a+rX FOLDER (of a container: the "
            f"folder that is mounted there)"
        ) from error


def _folders(model: Path) -> list[Path]:
    """Return the versions of a model, and its ``configs``."""
    return [entry for entry in model.iterdir() if entry.is_dir()] if model.is_dir() else []
