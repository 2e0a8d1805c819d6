"""Memory: the server's before, during and after many requests, and that of ``annotate``."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Sender
from benchmarks.photos import mosaics, write_folder
from facekit.errors import ServerError
from facekit.serving.processes import Process, children, read

SAMPLES = 20
"""Measurements along the way."""
FOLDERS = (1_000, 20_000)
"""Photos of the folders that ``annotate`` is measured on."""

_SETTLED = SAMPLES // 2
"""The sample that growth counts from: by then pools and caches have the size that they need."""
_CONCURRENCY = 4
_BAD_EVERY = 20
_SIZE_WH = (320, 180)
_MIB = 1024 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# `ru_maxrss` would be wrong: it begins with what the process that starts another one holds.
_PROGRAM = """
import sys
from pathlib import Path
from facekit.cli import main
code = main(sys.argv[1:])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0])
sys.exit(code)
"""


@dataclass(frozen=True)
class Memory:
    """Memory of a process tree in MiB: RSS, and PSS, where shared pages are divided."""

    rss_mib: float
    pss_mib: float
    processes: int


def tree(root: int) -> list[Process]:
    """Return the process ``root`` and all its descendants, ``root`` first; none if it is gone."""
    found = [process for process in [read(root)] if process is not None]
    for process in found:
        found.extend(sorted(children(process.pid), key=lambda child: child.pid))
    return found


def memory(root: int) -> Memory:
    """Return the memory of a process tree; processes that end meanwhile count as nothing."""
    found = tree(root)
    rss = pss = 0
    for process in found:
        folder = Path("/proc", str(process.pid))
        try:
            rss += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
            rollup = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        pss += sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    return Memory(rss / _MIB, pss / _MIB, len(found))


def soak(
    sender: Sender,
    pid: int,
    at_start: Memory,
    good: Sequence[bytes],
    bad: bytes,
    *,
    requests: int,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Send requests in turns, one in twenty of them broken, and watch the server's memory.

    ``at_start`` is its memory when it was new; the growth is the slope of the straight line through
    the PSS of the second half. Raises ServerError if a good request failed, or the bad one did not.
    """

    def refused(data: bytes) -> bool:
        try:
            sender.send(data)
        except ServerError:
            if data is not bad:
                raise
            return True
        return False

    turns = (
        bad if k % _BAD_EVERY == _BAD_EVERY - 1 else data
        for k, data in enumerate(itertools.cycle(good))
    )
    samples, sent, refusals = [_sample(pid, 0)], 0, 0
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        for k in range(1, SAMPLES + 1):
            part = requests * k // SAMPLES - sent
            refusals += sum(pool.map(refused, itertools.islice(turns, part)))
            sent += part
            samples.append(_sample(pid, sent))
            advance()
    if refusals != sent // _BAD_EVERY:
        raise ServerError(f"{sent // _BAD_EVERY} broken photos were sent, and {refusals} refused")
    pss = [sample["pss_mib"] for sample in samples]
    at = [sample["requests"] / 1000 for sample in samples]
    return {
        "at_start": asdict(at_start),
        "samples": samples,
        "requests": sent,
        "refused": refusals,
        "start_mib": pss[0],
        "end_mib": pss[-1],
        "peak_mib": max(pss),
        "growth_mib_per_1000": float(np.polyfit(at[_SETTLED:], pss[_SETTLED:], 1)[0]),
    }


def _sample(pid: int, requests: int) -> dict[str, Any]:
    now = memory(pid)
    return {"requests": requests, "rss_mib": now.rss_mib, "pss_mib": now.pss_mib}


def folder_memory(
    url: str, scratch: Path, advance: Callable[[], None], photos: Sequence[int] = FOLDERS
) -> list[dict[str, Any]]:
    """Annotate folders of some sizes, small photos of one face each, in a process of its own.

    ``scratch`` is an empty folder, in which 20,000 photos take 0.3 GB. The result has the largest
    resident memory of each run, MiB, and its seconds. Raises ServerError if a run failed.
    """
    portraits = mosaics(_SIZE_WH, 1)
    found = []
    for count in photos:
        folder, coco = scratch / str(count), scratch / f"{count}.json"
        write_folder(folder, portraits, count)
        command = [sys.executable, "-c", _PROGRAM, "annotate", str(folder)]
        command += ["--coco", str(coco), "--url", url, "--server-wait", "1"]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, check=False)
        seconds = time.monotonic() - start
        if done.returncode != 0:
            end = done.stderr.decode(errors="replace")[-500:]
            raise ServerError(f"annotate {folder}: {end}")
        peak_mib = int(done.stdout.split()[-1]) / 1024
        found.append({"photos": count, "faces": 1, "peak_mib": peak_mib, "seconds": seconds})
        advance()
    return found
