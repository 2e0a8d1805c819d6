"""Where a JPEG's own bytes end, and whether its picture is whole.

Phones and programs append things to a JPEG: further pictures, a film, notes of their own.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

_END_OF_IMAGE = b"\xff\xd9"
_CHUNK = 1 << 16


def end_of_file(raw: bytes) -> int:
    """Return the offset at which padding or a trailer of Samsung's begins.

    The trailer is a row of blocks, then a directory from ``SEFH`` on with a distance back to every
    block, then the directory's length and ``SEFT``. One zero of the padding is left, which may
    belong to the picture data.
    """
    end = _without_zeros(raw, len(raw))
    directory = raw.rfind(b"SEFH", 0, end) if raw[end - 4 : end] == b"SEFT" else -1
    if directory < 0:
        return min(end + 1, len(raw))
    count = int.from_bytes(raw[directory + 8 : directory + 12], "little")
    entries = raw[directory + 12 : end - 8]
    if len(entries) == 12 * count > 0:
        farthest: int = max(distance for _, distance, _ in struct.iter_unpack("<III", entries))
        if farthest < directory:
            return directory - farthest
    return min(_without_zeros(raw, directory) + 1, directory)


def is_known_trailer(raw: bytes, start: int, end: int) -> bool:
    """Tell whether bytes behind an end-of-image marker show by themselves that it is the picture's.

    That is padding, another JPEG (of a multi-picture file) or a film (of a motion photo).
    """
    for at in range(start, end, _CHUNK):
        used = np.flatnonzero(np.frombuffer(raw, np.uint8)[at : min(at + _CHUNK, end)])
        if used.size:
            head = raw[at + int(used[0]) :][:16]
            return head.startswith(b"\xff\xd8\xff") or b"ftyp" in head
    return True


def has_all_data(jpeg: bytes) -> bool:
    """Tell whether a JPEG's last scan needs no more bytes than there are, by decoding it thrice.

    Args:
        jpeg: The file without its end-of-image marker.
    """
    # Pillow can't tell what libjpeg only warns of. But bytes behind a whole scan change nothing,
    # while a scan that lacks some is decoded from what stands in their place.
    noise = np.random.default_rng(0).integers(0, 255, 64, np.uint8).tobytes()
    try:
        pictures = {
            _checksum(jpeg + filler + _END_OF_IMAGE) for filler in (bytes(64), b"\xfe" * 64, noise)
        }
    except Exception:  # Pillow raises errors of many kinds; whichever it is, there is no picture
        return False
    return len(pictures) == 1


def _checksum(jpeg: bytes) -> int:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        image.load()
        return zlib.crc32(image.tobytes())


def _without_zeros(raw: bytes, end: int) -> int:
    """Return where the zeros in front of ``end`` begin."""
    for stop in range(end, 0, -_CHUNK):
        start = max(stop - _CHUNK, 0)
        used = np.flatnonzero(np.frombuffer(raw, np.uint8)[start:stop])
        if used.size:
            return start + int(used[-1]) + 1
    return 0
