"""Gives memory back that a backend process took for a large request.

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

LEAST_BYTES = 8 * 2**20
"""Smaller tensors keep their pages: a single photo's fit, and fresh pages would cost it time."""

SPARE_BYTES = 2**30
"""Room beyond that of all pages given back: what the servers of a machine may grow by meanwhile."""

PREFIX = "facekit-"
"""What the names of the servers' shared memory begin with (``facekit.serving.claim``)."""

_SHM = "/dev/shm"
_REST_S = 2.0
_later: threading.Timer | None = None
_MADV_REMOVE = 9  # linux/mman.h
_libc = ctypes.CDLL(None, use_errno=True)


def drop_pages(tensor: Any) -> bool:
    """Empty the shared memory of a large input: who reads the tensor there later finds zeros.

    Args:
        tensor: Triton's, of a request. ``as_numpy`` gives a copy, which stays as it is.

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
    """Whether all that was ever given back would still fit into the shared memory's file system.

    A process that touches an emptied page where there is no room left is ended by SIGBUS, so the
    pages are kept where that may come to pass.
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
    """Give the free pages of this process's heap back, after a large request.

    glibc itself gives back only what lies at the heap's end, above all blocks that are in use. It
    is done now, and once more when the request itself is gone and the process may rest.
    """
    global _later
    _libc.malloc_trim(0)
    if _later is not None:
        _later.cancel()
    _later = threading.Timer(_REST_S, _libc.malloc_trim, (0,))
    _later.daemon = True
    _later.start()
