"""Faces and landmarks in photos, served by Triton and DALI.

::

    from facekit import Client

    with Client("localhost:8001") as client:
        for face in client.detect("photo.jpg"):
            print(face.box_xyxy, face.score, face.part("left_eye"))

The names below need NumPy and ``tritonclient[grpc]`` alone. The embedded server, drawing and the
command line live in ``facekit.serving``, ``facekit.draw`` and ``facekit.cli``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__: str

if TYPE_CHECKING:
    from facekit.client import AsyncClient, Client, PhotoLike
    from facekit.errors import (
        BoxError,
        ConfigError,
        DataError,
        DeadlineError,
        FacekitError,
        InputError,
        ModelMissingError,
        PhotoError,
        ResponseError,
        ServerError,
        ServerUnavailableError,
        SetupError,
        StoreError,
        StoreUnavailableError,
    )
    from facekit.faces import Face, Faces

__all__ = [
    "AsyncClient",
    "BoxError",
    "Client",
    "ConfigError",
    "DataError",
    "DeadlineError",
    "Face",
    "FacekitError",
    "Faces",
    "InputError",
    "ModelMissingError",
    "PhotoError",
    "PhotoLike",
    "ResponseError",
    "ServerError",
    "ServerUnavailableError",
    "SetupError",
    "StoreError",
    "StoreUnavailableError",
    "__version__",
]

_HOMES = {
    "AsyncClient": "facekit.client",
    "Client": "facekit.client",
    "Face": "facekit.faces",
    "Faces": "facekit.faces",
    "PhotoLike": "facekit.client",
}


# Names are imported when first used: the server's Python models import parts of this package too,
# and each of their processes would otherwise load gRPC for nothing.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        value: Any = _version()
    else:
        value = getattr(importlib.import_module(_HOMES.get(name, "facekit.errors")), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib import metadata
    from pathlib import Path

    from facekit.errors import DISTRIBUTION

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # a clone that is not installed
        project = Path(__file__).parents[1] / "pyproject.toml"
        lines = project.read_text("utf-8").splitlines() if project.is_file() else []
        found = [line.split('"')[1] for line in lines if line.startswith("version = ")]
        return found[0] if found else "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
