"""Release the memory that a backend process took for a large request.

Triton passes tensors to a Python model in shared memory, which grows with the largest request and
never shrinks. The pages of an input belong to its request until the answer: they may be released,
and the next request gets fresh ones, which costs less than a copy.
"""

import ctypes
import mmap
import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_BYTES = 8 * 2**20
"""Smaller tensors keep their pages: one photo fits, and fresh pages would cost it time."""

LEAST_FRAME_BYTES = 30 * 2**20
"""The same of a network's frames (FP32), of which eight fit (29.4 MB): with fresh pages for them at
every request a photo took a quarter more CPU time."""

SPARE_BYTES = 2**30
"""Free bytes to leave beyond all released pages: the servers of a machine may grow meanwhile."""

PREFIX = "facekit-"
"""Prefix of the names of the servers' shared memory (``facekit.serving``)."""

_SHM = "/dev/shm"
_REST_S = 2.0
_later: threading.Timer | None = None
_MADV_REMOVE = 9  # linux/mman.h
_libc = ctypes.CDLL(None, use_errno=True)


def drop_pages(tensor: Any) -> bool:
    """Release the shared memory of a large input tensor, which then reads as zeros.

    The copy that ``as_numpy`` returned is kept. Returns whether it was large, so that ``trim_heap``
    is worth its time after the answer.
    """
    array: npt.NDArray[Any] = np.from_dlpack(tensor)
    if array.nbytes < (LEAST_FRAME_BYTES if array.dtype == np.float32 else LEAST_BYTES):
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
    """Return whether all released pages still fit into the shared memory's file system.

    Otherwise a process that touches a released page may be killed by SIGBUS.
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
    """Release the free pages of this process's heap, now and again when the request is gone.

    glibc by itself releases only the pages above all blocks in use.
    """
    global _later
    _libc.malloc_trim(0)
    if _later is not None:
        _later.cancel()
    _later = threading.Timer(_REST_S, _libc.malloc_trim, (0,))
    _later.daemon = True
    _later.start()
