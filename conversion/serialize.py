"""Write the DALI pipelines into the repository, each in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from conversion import places, releases
from conversion.atomic import Say, publish
from conversion.errors import BuildError, ReleaseError
from facekit.engines.manifest import REPAIR, VERSION_DIR
from facekit.errors import SetupError

_FILE_MODE = 0o644


def serialize_pipelines(
    repository: Path, device: str, say: Say, environment: Mapping[str, str] = os.environ
) -> list[Path]:
    """Write every pipeline in each of its colors for one device, and return the files.

    The caller holds the repository's lock, so what a killed run left is nobody's and is removed.

    Args:
        repository: the model repository.
        device: ``gpu`` or ``cpu``.
        say: takes a line a file.
        environment: tells in which of NVIDIA's images this runs.

    Raises:
        ReleaseError: DALI is newer than that of the image's server.
        BuildError: DALI is not here, or a file can't be written.
        SetupError: ``gpu`` was asked for, and CUDA is not here.
    """
    try:
        import nvidia.dali

        from facekit.pipelines.definitions import COLORS_OF
        from facekit.pipelines.serialize import file_name, serialize
    except ImportError as error:
        raise BuildError(
            f"DALI is not here ({error}); it is in the converter's image: {REPAIR}"
        ) from error
    _check_version(str(nvidia.dali.__version__), environment)
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


def _check_version(dali: str, environment: Mapping[str, str]) -> None:
    """See to it that the server of this image can read what this DALI writes."""
    release = releases.load().here(environment)
    if release is None or releases.numbers(dali)[:2] <= releases.numbers(release.dali)[:2]:
        return
    raise ReleaseError(
        f"DALI {dali} is here, and Triton {release.tag} has DALI {release.dali}, which can't read "
        f"what a newer one writes. In .env: DALI_VERSION={release.dali_wheel}, then: "
        "scripts/convert --build"
    )


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        for left in path.parent.glob(".*.dali.part"):
            left.unlink()
        part.write_bytes(data)
        publish(part, path, _FILE_MODE)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BuildError(places.refused(path.parent, error)) from error
