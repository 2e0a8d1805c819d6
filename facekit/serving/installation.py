"""Finds the parts of the embedded Triton server on this machine, or says which one is missing."""

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from facekit.errors import SetupError, install_hint
from facekit.serving.libpython import library_folders

_EXTRA = install_hint("server")
_SHM = Path("/dev/shm")
# Measured with every model of the kit: 45 MiB at the start, 719 MiB while every model has a batch
# of 32 photos, 1,037 MiB with four at a time; and as much again as large inputs may have taken. A
# full one fails every later request.
_SHM_MINIMUM = 384 * 2**20
_SHM_AMPLE = 2560 * 2**20
_SHM_ADVICE = "make it larger (Docker: --shm-size 3g; else mount -o remount,size=3g /dev/shm)"


@dataclass(frozen=True)
class Installation:
    """Where the parts of the ``nvidia-pytriton`` wheel lie.

    ``library_dirs`` are the folders that the dynamic linker must search: the wheel's own libraries
    and the one of this Python's ``libpython``, which the stub is linked to.
    """

    binary: Path
    python_backend: Path
    stub: Path
    library_dirs: tuple[Path, ...]


def find_installation() -> Installation:
    """Find the server.

    Raises SetupError if this platform or Python has no such server, or a part of it is missing.
    """
    _check_platform()
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise SetupError(
            f"The embedded Triton server is not installed (package nvidia-pytriton): {_EXTRA}"
        )
    package = Path(spec.origin).parent
    root = package / "tritonserver"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stubs = root / "python_backend_stubs"
    installation = Installation(
        binary=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stub=stubs / version / "triton_python_backend_stub",
        library_dirs=(package.parent / "nvidia_pytriton.libs", *_libpython_folders(version)),
    )
    if not installation.stub.is_file():
        known = ", ".join(sorted(path.name for path in stubs.glob("*"))) or "none"
        raise SetupError(
            f"The embedded Triton server has no backend process for Python {version} "
            f"(it has: {known}). Use one of these Python versions."
        )
    for part in (installation.binary, installation.python_backend):
        if not part.exists():
            raise SetupError(f"{part} is missing: nvidia-pytriton is damaged, install it again.")
    return installation


def _check_platform() -> None:
    machine = platform.machine().lower()
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        raise SetupError(
            f"The embedded Triton server runs on Linux x86-64 and aarch64 only, and this is "
            f"{sys.platform} {machine}. Use a server on another machine, or a container."
        )
    libc, _ = platform.libc_ver()
    if libc != "glibc":
        raise SetupError(
            "The embedded Triton server needs a Linux with glibc (Debian, Ubuntu, Fedora, ...), "
            "and this Python is linked to another C library."
        )


def _libpython_folders(version: str) -> tuple[Path, ...]:
    try:
        return library_folders()
    except FileNotFoundError as error:
        raise SetupError(
            f"{error} is missing, and the backend processes are linked to it. On Debian and Ubuntu "
            f"install the package libpython{version}; a Python of your own must be built with "
            f"--enable-shared; scripts/setup in the clone makes an environment that has it."
        ) from None


def check_backend_package(backend: str) -> None:
    """Raise SetupError if the Python package behind a stand-in backend is not installed."""
    module, package = {
        "dali": ("nvidia.dali", "nvidia-dali-cuda120"),
        "onnxruntime": ("onnxruntime", "onnxruntime"),
    }[backend]
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise SetupError(f"Models of backend {backend} need the package {package}: {_EXTRA}")


def check_shared_memory(folder: Path = _SHM) -> str:
    """Check that backend processes can exchange tensors with the server.

    Returns a sentence for the user where large batches may not fit, else "". Raises SetupError if
    ``folder`` is missing, not writable or too full for one large photo.
    """
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SetupError(
            f"{folder} is missing or not writable: the server and its backend processes exchange "
            f"tensors there. Mount a tmpfs on it (Docker: --shm-size 3g)."
        )
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    if free < _SHM_MINIMUM:
        raise SetupError(
            f"{folder} has {free // 2**20} MiB free and the server needs "
            f"{_SHM_MINIMUM // 2**20} MiB for one large photo: {_SHM_ADVICE}."
        )
    if free < _SHM_AMPLE:
        return (
            f"{folder} has {free // 2**20} MiB free, and batches of 32 photos through every model "
            f"take up to {_SHM_AMPLE // 2**20} MiB: if requests fail for lack of shared memory, "
            f"{_SHM_ADVICE}"
        )
    return ""
