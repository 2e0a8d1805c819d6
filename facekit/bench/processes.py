"""Memory of a process and its children, read from ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from facekit.serving.processes import Process, children, read

_PROC = Path("/proc")
_MIB = 1024 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Memory:
    """Memory of a process tree in MiB.

    Attributes:
        rss_mib: Resident pages, those that processes share counted in each of them.
        pss_mib: Resident pages, shared ones divided among the processes that share them.
        processes: How many processes there are.
    """

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
        folder = _PROC / str(process.pid)
        try:
            rss += int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES
            pss += _pss_bytes(folder)
        except OSError:
            continue
    return Memory(rss / _MIB, pss / _MIB, len(found))


def _pss_bytes(folder: Path) -> int:
    for line in (folder / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
