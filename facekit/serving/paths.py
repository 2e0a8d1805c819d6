"""Paths that Triton can take, and links for those it cannot.

The Python backend starts its processes by a shell's command line, their file system encoding is
ASCII, search paths are divided by colons, and newer DALI backends refuse every character in a
model's path but those below.
"""

import os
import re
import tempfile
from pathlib import Path

from facekit.errors import SetupError

_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
# The rest of what the file system allows (4,096 bytes) is left to the names below such a folder.
_LONGEST = 1024


def is_plain(path: str | os.PathLike[str]) -> bool:
    """Return whether Triton, its backends and their processes can take this path."""
    text = os.fspath(path)
    return len(text) <= _LONGEST and _PLAIN.fullmatch(text) is not None


def run_folder(*, executable: bool) -> Path:
    """Return a folder for temporary files, or programs: TMPDIR if suitable, else a usual one.

    Raises SetupError if none is suitable.
    """
    usual = [Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/dev/shm")]
    candidates = [Path(tempfile.gettempdir()).absolute(), *usual]
    for folder in candidates:
        if not (is_plain(folder) and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            continue
        if not executable or not os.statvfs(folder).f_flag & os.ST_NOEXEC:
            return folder
    tried = ", ".join(dict.fromkeys(str(folder) for folder in candidates))
    raise SetupError(
        f"The server needs a temporary folder that allows writing{' and execution' * executable}, "
        f"with a path of A-Z a-z 0-9 _ . / - only, and none of {tried} is one. Set TMPDIR to one "
        f"(Docker: --tmpfs /tmp:exec)."
    )


class Links:
    """Plain names for folders, as links in ``folder``, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: dict[Path, Path] = {}

    def plain(self, path: Path) -> Path:
        """Return the absolute path itself if it is plain, else a link to it."""
        if is_plain(path):
            return path
        if path not in self._links:
            self._folder.mkdir(exist_ok=True)
            link = self._folder / str(len(self._links))
            link.symlink_to(path)
            self._links[path] = link
        return self._links[path]
