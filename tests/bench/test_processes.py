"""Process trees, processor time and memory, read from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from facekit.bench import processes
from facekit.serving.processes import cpu_seconds

_NEST = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin)
print(child.pid, flush=True)
child.wait()
"""


def test_tree_holds_grandchildren_and_memory_sums_them() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _NEST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        grandchild = int(parent.stdout.readline())
        assert [p.pid for p in processes.tree(parent.pid)] == [parent.pid, grandchild]
        both, alone = processes.memory(parent.pid), processes.memory(grandchild)
        assert (both.processes, alone.processes) == (2, 1)
        assert both.rss_mib > alone.rss_mib > 0
        assert 0 < both.pss_mib <= both.rss_mib
        parent.stdin.close()
    assert processes.memory(parent.pid) == processes.Memory(0.0, 0.0, 0)


def test_cpu_seconds_counts_work() -> None:
    own = processes.tree(os.getpid())[:1]
    before = cpu_seconds(own)
    end = time.process_time() + 0.05  # some ticks of the clock that /proc counts in
    while time.process_time() < end:
        sum(range(1000))
    assert cpu_seconds(own) > before
