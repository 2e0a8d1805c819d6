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
_STRIP_HEIGHT = 256


def end_of_file(raw: bytes) -> int:
    """Return the offset at which padding or a trailer of Samsung's begins.

    The trailer is a row of blocks, then a directory from ``SEFH`` on with a distance back to every
    block, then the directory's length and ``SEFT``. One zero of the padding is left, which may
    belong to the picture data.
    """
    end = len(raw.rstrip(b"\0"))
    directory = raw.rfind(b"SEFH", 0, end) if raw[end - 4 : end] == b"SEFT" else -1
    if directory < 0:
        return min(end + 1, len(raw))
    count = int.from_bytes(raw[directory + 8 : directory + 12], "little")
    entries = raw[directory + 12 : end - 8]
    if len(entries) == 12 * count > 0:
        farthest: int = max(distance for _, distance, _ in struct.iter_unpack("<III", entries))
        if farthest < directory:
            return directory - farthest
    return min(len(raw[:directory].rstrip(b"\0")) + 1, directory)


def is_known_trailer(raw: bytes, start: int, end: int) -> bool:
    """Tell whether bytes behind an end-of-image marker show by themselves that it is the picture's.

    That is padding, another JPEG (of a multi-picture file) or a film (of a motion photo).
    """
    head = raw[start:end].lstrip(b"\0")[:16]
    return not head or head.startswith(b"\xff\xd8\xff") or b"ftyp" in head


def has_all_data(jpeg: bytes, *, coarse: bool = False) -> bool:
    """Tell whether a JPEG's last scan needs no more bytes than there are, by decoding it thrice.

    Args:
        jpeg: The file without its end-of-image marker.
        coarse: Look at the averages of its blocks only, in an eighth of the time. That tells
            nothing of a scan that brings no averages.
    """
    # Pillow can't tell what libjpeg only warns of. But bytes behind a whole scan change nothing,
    # while a scan that lacks some is decoded from what stands in their place.
    noise = np.random.default_rng(0).integers(0, 255, 64, np.uint8).tobytes()
    try:
        pictures = {
            _checksum(jpeg + filler + _END_OF_IMAGE, coarse)
            for filler in (bytes(64), b"\xfe" * 64, noise)
        }
    except Exception:  # Pillow raises errors of many kinds; whichever it is, there is no picture
        return False
    return len(pictures) == 1


def _checksum(jpeg: bytes, coarse: bool) -> int:
    checksum = 0
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        if coarse:
            image.draft("L", (image.width // 8, image.height // 8))
        image.load()
        # Strip by strip, or the largest photos would lie in memory twice.
        for top in range(0, image.height, _STRIP_HEIGHT):
            bottom = min(top + _STRIP_HEIGHT, image.height)
            checksum = zlib.crc32(image.crop((0, top, image.width, bottom)).tobytes(), checksum)
    return checksum
