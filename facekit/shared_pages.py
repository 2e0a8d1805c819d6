"""Gives pages of shared memory back that a backend process is done with.

Triton hands tensors to a Python model in shared memory, which grows with the largest request and
never shrinks. The pages of an input belong to its request until that is answered: they may be
emptied, and the next request gets fresh ones, for less than what a copy costs.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy.typing as npt

LEAST_BYTES = 8 * 2**20
"""Smaller tensors keep their pages: a single photo's fit, and fresh pages would cost it time."""

_MADV_REMOVE = 9  # linux/mman.h
_libc = ctypes.CDLL(None, use_errno=True)


def drop_pages(array: npt.NDArray[Any]) -> None:
    """Empty the memory of a large array that nothing reads any more; it reads as zeros afterwards.

    Args:
        array: A C-contiguous view of shared memory. Of other memory the kernel gives nothing back.
    """
    if array.nbytes < LEAST_BYTES or not array.flags.c_contiguous:
        return
    first = -(-array.ctypes.data // mmap.PAGESIZE)
    last = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE
    _libc.madvise(
        ctypes.c_void_p(first * mmap.PAGESIZE),
        ctypes.c_size_t((last - first) * mmap.PAGESIZE),
        _MADV_REMOVE,
    )
