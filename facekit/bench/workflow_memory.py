"""The memory that ``annotate`` takes for a small folder and for a large one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from facekit.bench.photos import mosaics
from facekit.bench.results import FolderMemory
from facekit.bench.workflow import write_folder
from facekit.errors import ServerError

PHOTOS = (1_000, 20_000)
_SIZE_WH = (320, 180)
_KIB = 1024


def folder_memory(
    url: str, scratch: Path, advance: Callable[[], None], photos: Sequence[int] = PHOTOS
) -> list[FolderMemory]:
    """Annotate folders of some sizes, small photos of one face each.

    Args:
        url: The server.
        scratch: An empty folder; 20,000 photos take 0.3 GB in it.
        advance: Called after every run.
        photos: The sizes.

    Raises:
        ServerError: A run failed.
    """
    portraits = mosaics(_SIZE_WH, 1)
    found = []
    for count in photos:
        folder = scratch / str(count)
        folder.mkdir()
        write_folder(folder, portraits, count)
        found.append(_run(url, folder, scratch / f"{count}.json", count))
        advance()
    return found


def _run(url: str, folder: Path, coco: Path, count: int) -> FolderMemory:
    command = [sys.executable, "-m", "facekit.cli", "annotate", str(folder)]
    command += ["--coco", str(coco), "--url", url]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        # The one call that tells a child's own peak.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ServerError(f"annotate {folder}: {said.decode(errors='replace')[-500:]}")
    return FolderMemory(count, 1, usage.ru_maxrss / _KIB, time.monotonic() - start)
