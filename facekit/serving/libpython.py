"""Finds the shared library of this Python, which Triton's backend processes are linked to.

Also a program: ``python -I libpython.py`` exits with 1 where there is none. ``scripts/setup`` runs
it before anything is installed, so it needs only the standard library.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from pathlib import Path


def library_name() -> str:
    """Return the file name of this Python's shared library."""
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def library_folders() -> tuple[Path, ...]:
    """Return the folder of the library, or nothing where the dynamic linker finds it by itself.

    Raises FileNotFoundError if there is no such library.
    """
    base = Path(sys.base_prefix)
    variables = [sysconfig.get_config_var(name) for name in ("LIBDIR", "LIBPL")]
    folders = [Path(value) for value in variables if value]
    folders += [base / "lib", base / "lib64", Path(sys.prefix) / "lib"]
    for folder in folders:
        if folder.is_absolute() and (folder / library_name()).is_file():
            return (folder,)
    try:
        ctypes.CDLL(library_name())  # the linker's own folders, Debian's among them
    except OSError:
        raise FileNotFoundError(library_name()) from None
    return ()


if __name__ == "__main__":
    try:
        library_folders()
    except FileNotFoundError:
        sys.exit(1)
