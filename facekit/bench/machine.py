"""What is measured on what: the configuration that a bench prints first."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

from facekit.errors import DISTRIBUTION

_PACKAGES = (
    DISTRIBUTION,
    "numpy",
    "nvidia-pytriton",
    "nvidia-dali-cuda120",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "tritonclient",
)


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, load and system, in words."""
    load = os.getloadavg()[0]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "load before": f"{load:.1f}",
        "system": platform.platform(aliased=True, terse=True),
        "python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, those installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def file_hashes(repository: Path) -> dict[str, str]:
    """Return the first 12 digits of the SHA-256 of each model file of a repository."""
    files = sorted(
        path for pattern in ("*/1/*.onnx", "*/1/*.cpu.dali") for path in repository.glob(pattern)
    )
    return {
        f"{path.parent.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in files
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
