"""The memory that ``annotate`` takes for a small folder and for a large one."""

from __future__ import annotations

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
# `ru_maxrss` would do no good: it begins with what the process that starts another one holds.
_PROGRAM = """
import sys
from pathlib import Path
from facekit.cli import main
code = main(sys.argv[1:])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0])
sys.exit(code)
"""


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
    command = [sys.executable, "-c", _PROGRAM, "annotate", str(folder)]
    command += ["--coco", str(coco), "--url", url, "--server-wait", "5"]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        raise ServerError(f"annotate {folder}: {done.stderr.decode(errors='replace')[-500:]}")
    return FolderMemory(count, 1, int(done.stdout.split()[-1]) / _KIB, seconds)
