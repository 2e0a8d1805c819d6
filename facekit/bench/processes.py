"""Processor time and memory of a process and its children, read from ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
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


def tree(root: int) -> list[int]:
    """Return the process ids of ``root`` and all its descendants, ``root`` first."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(sorted(children.get(pid, [])))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time, user and system, that the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def memory(root: int) -> Memory:
    """Return the memory of a process tree; processes that end meanwhile count as nothing."""
    pids = tree(root)
    rss = pss = 0
    for pid in pids:
        try:
            rss += int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
            pss += _pss_bytes(pid)
        except OSError:
            continue
    return Memory(rss / _MIB, pss / _MIB, len(pids))


def _pss_bytes(pid: int) -> int:
    for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` behind the name, which may hold spaces."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
