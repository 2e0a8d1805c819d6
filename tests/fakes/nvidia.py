"""Builds libraries that stand for TensorRT's and CUDA's, from the C beside this file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
COMPILER = shutil.which("cc")


def build(folder: Path, *, tensorrt: str = "libnvinfer.so.8", cuda: str = "libcuda.so.1") -> Path:
    """Write both libraries into ``folder`` and return it; an empty name leaves one out."""
    assert COMPILER is not None
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in (("nvinfer.c", tensorrt), ("cuda.c", cuda)):
        if name:
            command = [COMPILER, "-shared", "-fPIC", "-o", str(folder / name), str(HERE / source)]
            subprocess.run(command, check=True)
    return folder
