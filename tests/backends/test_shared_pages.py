"""Pages of shared memory that go back to the machine."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facekit import shared_pages
from facekit.shared_pages import (
    LEAST_BYTES,
    LEAST_FRAME_BYTES,
    PREFIX,
    SPARE_BYTES,
    drop_pages,
)

BEFORE = 1000
"""Bytes of somebody else in front of the tensor, and behind it: no whole page."""


@pytest.mark.parametrize(
    ("size", "dtype", "is_large"),
    [
        (LEAST_BYTES, np.uint8, True),
        (LEAST_BYTES - 1, np.uint8, False),
        (LEAST_FRAME_BYTES, np.float32, True),
        (LEAST_FRAME_BYTES - 4, np.float32, False),
    ],
)
def test_drop_pages_empties_a_large_tensor_and_touches_no_neighbor(
    size: int, dtype: type, is_large: bool
) -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(BEFORE + size + BEFORE)
        with mmap.mmap(file.fileno(), 0) as shared:
            whole = np.frombuffer(shared, np.uint8)
            whole[:] = 7
            resident = _resident(file.fileno())
            large = drop_pages(whole[BEFORE : BEFORE + size].view(dtype))
            assert large == is_large
            freed = resident - _resident(file.fileno())
            if large:
                # All but the pages that it shares with its neighbors.
                assert size - 2 * mmap.PAGESIZE <= freed <= size
                assert not whole[BEFORE + mmap.PAGESIZE : size].any()
            else:
                assert freed == 0
            assert (whole[:BEFORE] == 7).all()
            assert (whole[-BEFORE:] == 7).all()
            del whole


def test_drop_pages_keeps_pages_where_shared_memory_may_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A page that is touched again where there is no room ends the server by SIGBUS.
    size = LEAST_BYTES
    with tempfile.NamedTemporaryFile(prefix=PREFIX, dir="/dev/shm") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), 0) as shared:
            whole = np.frombuffer(shared, np.uint8)
            whole[:] = 7
            roomy = os.statvfs("/dev/shm")
            for spare, left in ((SPARE_BYTES - 4096, 7), (2 * SPARE_BYTES, 0)):
                free = SimpleNamespace(f_bavail=spare // roomy.f_frsize, f_frsize=roomy.f_frsize)
                monkeypatch.setattr(shared_pages.os, "statvfs", lambda path, free=free: free)
                monkeypatch.setattr(shared_pages, "PREFIX", file.name.rpartition("/")[2])
                assert drop_pages(whole)
                assert (whole[4096:-4096] == left).all()
            # The holes themselves count as taken.
            whole[:] = 7
            drop_pages(whole)
            free = SimpleNamespace(f_bavail=(SPARE_BYTES + size // 2) // 4096, f_frsize=4096)
            monkeypatch.setattr(shared_pages.os, "statvfs", lambda path: free)
            assert not shared_pages._has_room()
            del whole


def test_drop_pages_leaves_memory_of_another_kind_alone() -> None:
    private = np.full(2 * LEAST_BYTES, 7, np.uint8)
    drop_pages(private)
    assert (private == 7).all()


def _resident(handle: int) -> int:
    return Path(f"/proc/self/fd/{handle}").stat().st_blocks * 512
