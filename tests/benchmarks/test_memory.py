"""Memory of process trees, read from /proc, and that of `annotate`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from facekit.errors import ServerError
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.processes import cpu_seconds

MIB = 1 << 20

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
        assert [p.pid for p in memory.tree(parent.pid)] == [parent.pid, grandchild]
        both, alone = memory.memory(parent.pid), memory.memory(grandchild)
        assert (both.processes, alone.processes) == (2, 1)
        assert both.rss_mib > alone.rss_mib > 0
        assert 0 < both.pss_mib <= both.rss_mib
        parent.stdin.close()
    assert memory.memory(parent.pid) == memory.Memory(0.0, 0.0, 0)


def test_cpu_seconds_counts_work() -> None:
    own = memory.tree(os.getpid())[:1]
    before = cpu_seconds(own)
    end = time.process_time() + 0.05  # some ticks of the clock that /proc counts in
    while time.process_time() < end:
        sum(range(1000))
    assert cpu_seconds(own) > before


def test_memory_is_that_of_annotate_and_not_of_the_benchmark(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    ballast = np.ones(600 * MIB, np.uint8)
    (found,) = memory.folder_memory(server.grpc_url, tmp_path, lambda: None, photos=(2,))
    assert ballast[-1] == 1
    assert found["photos"] == 2 and 20 < found["peak_mib"] < 400


def test_run_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="localhost:1"):
        memory.folder_memory("localhost:1", tmp_path, lambda: None, photos=(1,))
