"""Find where a JPEG's own bytes end, and whether its picture is whole.

Phones and programs append further pictures, a film or notes to a JPEG.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from facekit.photos.blocks import Bytes, essential_jpeg

_END_OF_IMAGE = b"\xff\xd9"
_STRIP_HEIGHT = 256
_BLOCK = 1 << 16
"""Bytes read at a time; a directory of Samsung's takes some hundreds."""


def end_of_file(raw: Bytes) -> int:
    """Return the offset at which padding or a trailer of Samsung's begins.

    The trailer is a row of blocks, then a directory from ``SEFH`` on with a distance back to every
    block, then the directory's length and ``SEFT``. One zero of the padding is left, which may
    belong to the picture data.
    """
    end = _end_of_content(raw, len(raw))
    directory = _start_of_directory(raw, end)
    if directory < 0:
        return min(end + 1, len(raw))
    start = directory
    count = int.from_bytes(raw[directory + 8 : directory + 12], "little")
    entries = bytes(raw[directory + 12 : end - 8])
    if len(entries) == 12 * count > 0:
        farthest: int = max(distance for _, distance, _ in struct.iter_unpack("<III", entries))
        if farthest < directory:
            start = directory - farthest
    return min(_end_of_content(raw, start) + 1, start)


def _end_of_content(raw: Bytes, end: int) -> int:
    """Return the offset behind the last byte in front of ``end`` that is not zero."""
    while end > 0:
        start = max(0, end - (_BLOCK if raw[end - 1] == 0 else 1))
        content = bytes(raw[start:end]).rstrip(b"\0")
        if content:
            return start + len(content)
        end = start
    return 0


def _start_of_directory(raw: Bytes, end: int) -> int:
    """Return the offset of the directory of a trailer of Samsung's, or -1."""
    if bytes(raw[max(end - 4, 0) : end]) != b"SEFT":
        return -1
    start = max(0, end - _BLOCK)
    found = bytes(raw[start:end]).rfind(b"SEFH")
    return start + found if found >= 0 else -1


def is_known_trailer(raw: Bytes, start: int, end: int) -> bool:
    """Tell whether bytes behind an end-of-image marker prove that it is the picture's own.

    Padding does, another JPEG (of a multi-picture file) and a film (of a motion photo).
    """
    head = b""
    while start < end and not head:
        block_end = min(start + _BLOCK, end)
        start = block_end - len(bytes(raw[start:block_end]).lstrip(b"\0"))
        head = bytes(raw[start : min(start + 16, end)]) if start < block_end else b""
    return not head or head.startswith(b"\xff\xd8\xff") or b"ftyp" in head


def has_all_data(jpeg: bytes, *, coarse: bool = False) -> bool:
    """Tell whether a JPEG's last scan needs no more bytes than there are, by decoding it thrice.

    The end-of-image marker is not part of ``jpeg``. With ``coarse``, only the averages of its
    blocks are compared, in an eighth of the time; that tells nothing of a scan without averages.
    """
    # Pillow hides what libjpeg only warns of. But bytes behind a whole scan change nothing, while a
    # scan that lacks some is decoded from what stands in their place.
    noise = np.random.default_rng(0).integers(0, 255, 64, np.uint8).tobytes()
    jpeg = essential_jpeg(jpeg)
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
    # Not Image.open, which has a limit of pixels of its own.
    image = JpegImageFile(io.BytesIO(jpeg))
    if coarse:
        image.draft("L", (image.width // 8, image.height // 8))
    image.load()
    # Strip by strip, or the largest photos would lie in memory twice.
    for top in range(0, image.height, _STRIP_HEIGHT):
        bottom = min(top + _STRIP_HEIGHT, image.height)
        checksum = zlib.crc32(image.crop((0, top, image.width, bottom)).tobytes(), checksum)
    return checksum
