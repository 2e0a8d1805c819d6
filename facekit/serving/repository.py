"""The model repository of a server: where it is, whether it can be read, and what is served of it.

A server reads a folder of links with plain names to the models.
"""

import os
from collections.abc import Container
from pathlib import Path

from facekit.engines.configs import config_files, in_color, read_config, write_config
from facekit.errors import ConfigError, SetupError
from facekit.serving.paths import is_plain
from facekit.serving.runtime import PACKAGE

COLORS = ("gray", "rgb")
"""What FaceNet is fed; each is a serialized pipeline beside the others."""

# Without its configuration a folder is not a model; the others are enough for some backends.
_FILES = ("config.pbtxt", "configs/cpu.pbtxt", "1/model.onnx", "1/model.plan", "1/model.py")


def default_model_repository() -> Path:
    """Return ``FACEKIT_MODEL_REPOSITORY``, or the ``model_repository`` beside the package."""
    return Path(os.environ.get("FACEKIT_MODEL_REPOSITORY") or PACKAGE.parent / "model_repository")


def check_default_repository() -> None:
    """Check that there are models for an embedded server of a command that also takes ``--url``.

    Raises SetupError if there are none, as where the client alone is installed.
    """
    repository = default_model_repository()
    if not repository.is_dir():
        raise SetupError(
            f"there are no models to start a server with, because {repository} does not exist: "
            "name a running server with --url, or a model repository in FACEKIT_MODEL_REPOSITORY"
        )


def check_repository(repository: Path) -> None:
    """Raise SetupError unless this process can list every model and open its files."""
    try:
        if not repository.is_dir():
            raise SetupError(
                f"The model repository {repository} does not exist: give --model-repository or "
                f"set FACEKIT_MODEL_REPOSITORY."
            )
        folders = [entry for entry in sorted(repository.iterdir()) if entry.is_dir()]
        for model in folders:
            for folder in (model, *(entry for entry in model.iterdir() if entry.is_dir())):
                for file in folder.iterdir():
                    # Hidden ones are a converter's, still at work.
                    if file.is_file() and not file.name.startswith("."):
                        file.open("rb").close()
        models = [model for model in folders if any((model / name).is_file() for name in _FILES)]
        for model in models:
            if not is_plain(model.name):
                raise SetupError(
                    f"{model}: a model's folder is named with A-Z a-z 0-9 _ . - only: rename it."
                )
        if not models:
            raise SetupError(
                f"{repository} contains no models: see that it is the model repository "
                f"(FACEKIT_MODEL_REPOSITORY; Docker makes a folder that does not exist)."
            )
    except OSError as error:
        raise SetupError(
            f"The model repository cannot be read by user {os.geteuid()}: {error.filename}: "
            f"{error.strerror}. Let everyone read it: chmod -R a+rX FOLDER (of a container: the "
            f"folder that is mounted there)"
        ) from error


def lay_out(
    repository: Path, folder: Path, skipped: Container[str] = (), color: str | None = None
) -> None:
    """Make ``folder``, in which every model but those ``skipped`` is a link to the repository's.

    With a color, one of ``COLORS``, the DALI models use its pipelines, and large JPEGs are decoded
    to it; raises SetupError if there is no such pipeline, or a configuration is wrong.
    """
    folder.mkdir()
    for model in sorted(path for path in repository.iterdir() if path.is_dir()):
        if model.name in skipped:
            continue
        changed = {} if color is None else _recolored(model, color)
        if changed:
            _write_model(model, folder / model.name, changed)
        else:
            (folder / model.name).symlink_to(model)


def _recolored(model: Path, color: str) -> dict[Path, str]:
    """Return the text of a model's configurations in a color; none if it has no color."""
    found, colored = {}, False
    for path in config_files(model):
        try:
            config = read_config(path, to_write=True)
        except ConfigError as error:
            raise SetupError(str(error)) from error
        pipeline = in_color(config, color)
        colored = colored or pipeline is not None
        # GPU pipelines may not have been made yet; the CPU's are part of the repository.
        if pipeline and path.parent.name == "configs":
            if not any((version / pipeline).is_file() for version in model.glob("[0-9]*")):
                raise SetupError(f"Model {model.name} has no {pipeline}, which the color needs.")
        found[path] = write_config(config)
    return found if colored else {}


def _write_model(model: Path, target: Path, configs: dict[Path, str]) -> None:
    target.mkdir()
    for entry in model.iterdir():
        if entry.name not in ("config.pbtxt", "configs"):
            (target / entry.name).symlink_to(entry)
    for path, text in configs.items():
        written = target / path.relative_to(model)
        written.parent.mkdir(exist_ok=True)
        written.write_text(text, "utf-8")
