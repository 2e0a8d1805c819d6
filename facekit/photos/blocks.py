"""Walk the blocks of JPEG, PNG and WebP files: where each lies, not what it says.

The walks also take damaged files: they end where a file makes no sense any more, and raise
nothing. They read only the head of each block, so a photo on a disk is not read whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Bytes = bytes | memoryview
"""A file in memory."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# ITU-T T.81, table B.1: markers that stand alone, the start of a scan, the end of the image.
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SOS, _EOI = 0xDA, 0xD9
_SOF = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In coded data a zero follows every 0xFF byte that is no marker; any number of 0xFF bytes may stand
# in front of one.
MARKER = re.compile(rb"\xff[^\x00\xff]")
_BETWEEN_DATA = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # no restart markers
_SEARCHED_BYTES = 4096
MOST_BLOCKS = 1 << 17
"""Of one file; a phone's has some tens."""
_FARTHEST = 1 << 40
"""Largest offset that is read; a field can hold larger ones than a file system takes."""


class Block(NamedTuple):
    """A segment of a JPEG (named by its marker's second byte), a chunk of a PNG or WebP.

    ``start`` is the offset of its head, ``body`` that of its content, whose ``length`` in bytes is
    what the head says; the file may end before.
    """

    name: bytes
    start: int
    body: int
    length: int

    @property
    def is_frame(self) -> bool:
        """Whether it is the frame header of a JPEG, which holds the size."""
        return len(self.name) == 1 and self.name[0] in _SOF


class MemoryStream(io.RawIOBase):
    """A file over memory, without the copy that ``io.BytesIO`` makes."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the start, from here or from the end."""
        base = {io.SEEK_CUR: self._at, io.SEEK_END: len(self._memory)}.get(whence, 0)
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer as far as there are bytes, and return their number."""
        target = memoryview(buffer)
        source = self._memory[self._at : self._at + len(target)]
        target[: len(source)] = source
        self._at += len(source)
        return len(source)


def read_at(stream: BinaryIO, offset: int, count: int) -> bytes:
    """Return up to ``count`` bytes from an offset; fewer where the file ends."""
    if offset > _FARTHEST:
        return b""
    stream.seek(offset)
    return stream.read(count)


def jpeg_segments(stream: BinaryIO) -> Iterator[Block]:
    """Yield the segments of a JPEG in front of its first scan; the last one is the scan's head."""
    at = 2
    for _ in range(MOST_BLOCKS):
        head = read_at(stream, at, 4)
        # Bytes between segments are passed over, as libjpeg does.
        while len(head) == 4 and not MARKER.match(head):
            window = read_at(stream, at, _SEARCHED_BYTES)
            found = MARKER.search(window)
            # The window's last byte may be a marker's first.
            at += found.start() if found else len(window) - 1
            head = read_at(stream, at, 4)
        if len(head) < 4 or head[1] == _EOI:
            return
        if head[1] in _ALONE:
            at += 2
            continue
        length = int.from_bytes(head[2:4], "big")
        if length < 2:
            return
        yield Block(head[1:2], at, at + 4, length - 2)
        if head[1] == _SOS:
            return
        at += 2 + length


def png_chunks(stream: BinaryIO) -> Iterator[Block]:
    """Yield the chunks of a PNG up to its end; the last one may be cut off."""
    at = len(PNG_SIGNATURE)
    for _ in range(MOST_BLOCKS):
        head = read_at(stream, at, 8)
        if len(head) < 8:
            return
        block = Block(head[4:8], at, at + 8, int.from_bytes(head[:4], "big"))
        yield block
        if block.name == b"IEND":
            return
        at = block.body + block.length + 4


def webp_chunks(stream: BinaryIO) -> Iterator[Block]:
    """Yield the chunks of a WebP."""
    at = 12
    for _ in range(MOST_BLOCKS):
        head = read_at(stream, at, 8)
        if len(head) < 8:
            return
        block = Block(head[:4], at, at + 8, int.from_bytes(head[4:8], "little"))
        yield block
        at = block.body + block.length + block.length % 2


def essential_jpeg(raw: bytes) -> bytes:
    """Return a JPEG without its metadata, over which Pillow may stumble.

    JFIF's and Adobe's segments stay: they tell how colors are stored.
    """
    kept = [raw[:2]]
    for block in jpeg_segments(io.BytesIO(raw)):
        if block.name == b"\xda":
            return b"".join([*kept, raw[block.start :]])
        end = block.body + block.length
        content = raw[block.body : end]
        colors = (block.name == b"\xe0" and content[:5] == b"JFIF\0" and len(content) >= 14) or (
            block.name == b"\xee" and content[:5] == b"Adobe" and len(content) >= 12
        )
        if colors or not (0xE0 <= block.name[0] <= 0xEF or block.name == b"\xfe"):
            kept.append(raw[block.start : end])
    return b"".join(kept)  # Without a scan; Pillow reports that.


def count_scans(jpeg: bytes) -> int:
    """Return how many scans a decoder goes through: those in front of the JPEG's end."""
    at, scans = 2, 0
    while (found := _BETWEEN_DATA.search(jpeg, at)) is not None:
        marker, at = jpeg[found.start() + 1], found.end()
        if marker == _EOI:
            break
        scans += marker == _SOS
        at += int.from_bytes(jpeg[at : at + 2], "big")
    return scans
