"""Give back the memory that a backend process took for a large request.

Triton hands tensors to a Python model in shared memory, which grows with the largest request and
never shrinks. The pages of an input belong to its request until that is answered: they may be
emptied, and the next request gets fresh ones, for less than what a copy costs.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_BYTES = 30 * 2**20
"""Smaller tensors keep their pages. Eight frames of a network (29.4 MB) fit: with fresh pages for
them at every request a photo took a quarter more CPU time."""

SPARE_BYTES = 2**30
"""Free bytes to leave beyond all pages given back: the servers of a machine may grow meanwhile."""

PREFIX = "facekit-"
"""First part of the names of the servers' shared memory (``facekit.serving``)."""

_SHM = "/dev/shm"
_REST_S = 2.0
_later: threading.Timer | None = None
_MADV_REMOVE = 9  # linux/mman.h
_libc = ctypes.CDLL(None, use_errno=True)


def drop_pages(tensor: Any) -> bool:
    """Empty the shared memory of a request's large input tensor, which then reads as zeros.

    What ``as_numpy`` gave is a copy, and stays.

    Returns:
        Whether it was large: ``trim_heap`` is worth its time when the request is answered.
    """
    array: npt.NDArray[Any] = np.from_dlpack(tensor)
    if array.nbytes < LEAST_BYTES:
        return False
    if not _has_room():
        return True
    first = -(-array.ctypes.data // mmap.PAGESIZE)
    last = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE
    _libc.madvise(
        ctypes.c_void_p(first * mmap.PAGESIZE),
        ctypes.c_size_t((last - first) * mmap.PAGESIZE),
        _MADV_REMOVE,
    )
    return True


def _has_room() -> bool:
    """Tell whether all that was ever given back still fits into the shared memory's file system.

    A process that touches an emptied page where no room is left is ended by SIGBUS, so the pages
    are kept where that may happen.
    """
    state = os.statvfs(_SHM)
    holes = 0
    with os.scandir(_SHM) as files:
        for file in files:
            if file.name.startswith(PREFIX):
                try:
                    size = file.stat()
                except OSError:  # a server that has just ended
                    continue
                holes += max(size.st_size - 512 * size.st_blocks, 0)
    return state.f_bavail * state.f_frsize - holes >= SPARE_BYTES


def trim_heap() -> None:
    """Give back the free pages of this process's heap, after a large request.

    glibc by itself gives back only what lies above all blocks in use. It is done now, and once more
    when the request itself is gone and the process may be idle.
    """
    global _later
    _libc.malloc_trim(0)
    if _later is not None:
        _later.cancel()
    _later = threading.Timer(_REST_S, _libc.malloc_trim, (0,))
    _later.daemon = True
    _later.start()
