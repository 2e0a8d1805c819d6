"""Print the folder of this Python's shared library; exit 1 where there is none.

Triton's Python backend is linked to it. Kept apart from the package, because ``scripts/setup``
runs it before anything is installed.
"""

import ctypes
import sys
import sysconfig
from pathlib import Path

name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
folders = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
for folder in filter(None, folders):
    if (Path(folder) / name).exists():
        sys.stdout.write(f"{folder}\n")
        sys.exit(0)
try:
    ctypes.CDLL(name)  # the loader's own folders, Debian's among them
except OSError:
    sys.exit(1)
