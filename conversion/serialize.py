"""Write the DALI pipelines into the repository, each in one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conversion.atomic import publish
from conversion.errors import BuildError
from conversion.lock import writable_words
from facekit.engines.manifest import VERSION_DIR
from facekit.errors import SetupError

_FILE_MODE = 0o644


def serialize_pipelines(repository: Path, device: str, say: Callable[[str], None]) -> list[Path]:
    """Write every pipeline in each of its colours for one device, and return the files.

    The caller holds the repository's lock, so what a killed run left is nobody's and is removed.

    Args:
        repository: the model repository.
        device: ``gpu`` or ``cpu``.
        say: takes a line a file.

    Raises:
        BuildError: DALI is not here, or a file can't be written.
        SetupError: ``gpu`` was asked for, and CUDA is not here.
    """
    try:
        import nvidia.dali

        from facekit.pipelines.definitions import COLORS_OF
        from facekit.pipelines.serialize import file_name, serialize
    except ImportError as error:
        raise BuildError(
            f"DALI is not here ({error}); it is in the converter's image: "
            "docker compose run --rm converter"
        ) from error
    written = []
    for model, colors in COLORS_OF.items():
        folder = repository / model / VERSION_DIR
        if not folder.parent.is_dir():
            continue  # a repository of some models alone
        for color in colors:
            path = folder / file_name(color, device)
            try:
                data = serialize(model, device=device, color=color)
            except SetupError as error:
                first = str(error).splitlines()[0]
                raise SetupError(
                    f"{path.name} of {model}: {first}\nwhat to do: see that nvidia-smi works, and "
                    "that the container is given the GPU; --device cpu writes those of a server "
                    "without one"
                ) from error
            _write(path, data)
            written.append(path)
            say(f"{model}: {path.name} written by DALI {nvidia.dali.__version__}")
    return written


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        for left in path.parent.glob(".*.dali.part"):
            left.unlink()
        part.write_bytes(data)
        publish(part, path, _FILE_MODE)
    except OSError as error:
        raise BuildError(f"{writable_words(path.parent)}: {error.strerror}") from error
