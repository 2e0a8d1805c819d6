"""What the commands say where a library of the trainers is missing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

LIBRARIES = {
    "torch": "PyTorch",
    "onnx": "onnx",
    "onnxruntime": "ONNX Runtime",
    "PIL": "Pillow",
    "matplotlib": "Matplotlib",
    "scipy": "SciPy",
}
"""What the extra ``train`` brings, by the name of its package."""


def with_libraries(run: Callable[[], int]) -> int:
    """Run a command; where it needs a library that is missing, say which, and return 1."""
    try:
        return run()
    except ModuleNotFoundError as error:
        library = LIBRARIES.get((error.name or "").partition(".")[0])
        if library is None:
            raise
        sys.stderr.write(f"needs {library}: scripts/setup train (or pip install '.[train]')\n")
        return 1


def run_module(name: str, arguments: Sequence[str] | None) -> int:
    """Import a module, which may need a missing library, and run its ``main``."""

    def run() -> int:
        status: int = importlib.import_module(name).main(arguments)
        return status

    return with_libraries(run)
