"""Write the DALI pipelines into the repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from conversion.errors import BuildError, ReleaseError
from conversion.paths import Say, not_writable
from conversion.releases import TAG_VARIABLE, load_releases, numbers
from facekit.engines.manifest import REPAIR, VERSION_DIR
from facekit.errors import SetupError
from facekit.files import write_whole


def serialize_pipelines(
    repository: Path, device: str, say: Say, environment: Mapping[str, str] = os.environ
) -> list[Path]:
    """Write every pipeline in each of its colors for one device, and return the files.

    The caller holds the repository's lock, so the partial files of a killed run can be removed.

    Args:
        repository: the model repository.
        device: ``gpu`` or ``cpu``.
        say: takes a line per file.
        environment: tells in which of NVIDIA's images this runs.

    Raises:
        ReleaseError: DALI is newer than that of the image's server.
        BuildError: DALI is not installed, or a file cannot be written.
        SetupError: ``gpu`` was asked for, and CUDA is not here.
    """
    try:
        import nvidia.dali

        from facekit.pipelines.definitions import COLORS_OF
        from facekit.pipelines.serialize import file_name, serialize
    except ImportError as error:
        raise BuildError(
            f"DALI is not installed ({error}); it is in the converter's image: {REPAIR}"
        ) from error
    _check_version(str(nvidia.dali.__version__), environment)
    written = []
    for model, colors in COLORS_OF.items():
        folder = repository / model / VERSION_DIR
        if not folder.parent.is_dir():
            continue  # a repository of some models only
        for color in colors:
            path = folder / file_name(color, device)
            try:
                data = serialize(model, device=device, color=color)
            except SetupError as error:
                first = str(error).splitlines()[0]
                raise SetupError(
                    f"{path.name} of {model}: {first}\nwhat to do: check that nvidia-smi works, "
                    "and that the container is given the GPU; --device cpu writes the pipelines of "
                    "a server without one"
                ) from error
            try:
                for partial in folder.glob(".*.dali.part"):
                    partial.unlink()
                write_whole(path, data)
            except OSError as error:
                raise BuildError(not_writable(folder, error)) from error
            written.append(path)
            say(f"{model}: {path.name} written by DALI {nvidia.dali.__version__}")
    return written


def _check_version(dali: str, environment: Mapping[str, str]) -> None:
    """Check that the server of this image can read what this DALI writes."""
    release = load_releases().here(environment)
    if release is not None and numbers(dali)[:2] > numbers(release.dali)[:2]:
        raise ReleaseError(
            f"DALI {dali} is installed, and Triton {environment[TAG_VARIABLE]} has DALI "
            f"{release.dali}, which cannot read what a newer one writes. In .env: "
            f"DALI_VERSION={release.dali_wheel}, then: scripts/convert --build"
        )
