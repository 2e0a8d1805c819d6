"""Pages of shared memory that go back to the machine."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path

import numpy as np
import pytest

from facekit.shared_pages import LEAST_BYTES, drop_pages

BEFORE = 1000
"""Bytes of somebody else in front of the tensor, and behind it: no whole page."""


@pytest.mark.parametrize("size", [LEAST_BYTES, LEAST_BYTES - 1])
def test_drop_pages_empties_a_large_tensor_and_touches_no_neighbor(size: int) -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(BEFORE + size + BEFORE)
        with mmap.mmap(file.fileno(), 0) as shared:
            whole = np.frombuffer(shared, np.uint8)
            whole[:] = 7
            resident = _resident(file.fileno())
            large = drop_pages(whole[BEFORE : BEFORE + size])
            assert large == (size == LEAST_BYTES)
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


def test_drop_pages_leaves_memory_of_another_kind_alone() -> None:
    private = np.full(2 * LEAST_BYTES, 7, np.uint8)
    drop_pages(private)
    assert (private == 7).all()


def _resident(handle: int) -> int:
    return Path(f"/proc/self/fd/{handle}").stat().st_blocks * 512
