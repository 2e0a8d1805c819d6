"""Read a JPEG's header far enough to know that any decoder will take it.

Decoders disagree about odd JPEGs: lossless or arithmetic coding, missing tables, two frames. What
is not plainly in order here is decoded by Pillow instead of being handed to DALI, so that no
odd file can fail a batch of others. Source of all markers and limits: ITU-T T.81, annex B.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DHT, _DQT, _SOS, _APP1 = 0xC4, 0xDB, 0xDA, 0xE1
# Restart interval, comment, and what applications add.
_OTHERS = {0xDD, 0xFE, *range(0xE0, 0xF0)}
_KNOWN = {_DHT, _DQT, _SOS} | _FRAMES | _OTHERS
_MOST_BLOCKS = 10  # of all components in one unit of a scan
_EXIF = b"Exif\0\0"


@dataclass
class JpegHeader:
    """What stands before the first scan.

    Attributes:
        scan_start: Offset of the first scan's coded data.
        exif_starts: Offsets of every ``Exif`` block's name.
    """

    scan_start: int = 0
    exif_starts: list[int] = field(default_factory=list)


class OddJpegError(ValueError):
    """The header is broken, or of a kind that not every decoder reads."""


def read_header(raw: bytes) -> JpegHeader:
    """Walk the segments of a JPEG up to its first scan.

    Raises:
        OddJpegError: One frame of Huffman-coded 8-bit gray or three-colour pixels with all its
            tables is what every decoder reads; this is something else.
    """
    try:
        return _Walk(raw).header
    except (IndexError, struct.error) as e:
        raise OddJpegError("the header ends too early") from e


class _Walk:
    def __init__(self, raw: bytes) -> None:
        self.header = JpegHeader()
        self._frame = 0
        self._quantisers: dict[int, int] = {}  # component to the table it needs
        self._quantised: set[int] = set()
        self._huffman: set[int] = set()  # class in the high half byte, id in the low
        at = 2
        while True:
            if raw[at] != 0xFF:
                raise OddJpegError("bytes between segments")
            while raw[at] == 0xFF:
                at += 1
            marker = raw[at]
            if marker not in _KNOWN:
                raise OddJpegError(f"marker {marker:#x} before the first scan")
            (length,) = struct.unpack_from(">H", raw, at + 1)
            body = raw[at + 3 : at + 1 + length]
            if length < 2 or len(body) != length - 2:
                raise OddJpegError("a segment ends too early")
            if marker == _APP1 and body.startswith(_EXIF):
                self.header.exif_starts.append(at + 3)
            elif marker == _DQT:
                self._read_quantisers(body)
            elif marker == _DHT:
                self._read_huffman(body)
            elif marker in _FRAMES:
                self._read_frame(marker, body)
            at += 1 + length
            if marker == _SOS:
                self._read_scan(body)
                self.header.scan_start = at
                return

    def _read_quantisers(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            wide, table = divmod(body[at], 16)
            if wide > 1 or table > 3:
                raise OddJpegError("a quantisation table of an unknown kind")
            self._quantised.add(table)
            at += 65 + 64 * wide
        if at != len(body):
            raise OddJpegError("a quantisation table ends too early")

    def _read_huffman(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            kind, table = divmod(body[at], 16)
            counts = body[at + 1 : at + 17]
            # More codes than their lengths leave room for can't be told apart.
            room = sum(count << (16 - bits) for bits, count in enumerate(counts, 1))
            symbols = body[at + 17 : at + 17 + sum(counts)]
            # The symbols of class 0 are lengths in bits, which end at 15.
            unknown = kind > 1 or table > 3 or (kind == 0 and max(symbols, default=0) > 15)
            if unknown or room > 1 << 16 or len(counts) < 16:
                raise OddJpegError("a Huffman table of an unknown kind")
            self._huffman.add(body[at])
            at += 17 + sum(counts)
        if at != len(body):
            raise OddJpegError("a Huffman table ends too early")

    def _read_frame(self, marker: int, body: bytes) -> None:
        if self._frame:
            raise OddJpegError("two frames")
        precision, height, width, components = struct.unpack_from(">BHHB", body)
        plain = marker in _BASELINE or marker == _PROGRESSIVE
        if not plain or precision != 8 or not height or not width:
            raise OddJpegError("a frame that not every decoder reads")
        if components not in (1, 3) or len(body) != 6 + 3 * components:
            raise OddJpegError(f"{components} components")
        self._frame = marker
        blocks = 0
        for at in range(6, len(body), 3):
            across, down = divmod(body[at + 1], 16)
            if across not in (1, 2, 4) or down not in (1, 2, 4) or body[at] in self._quantisers:
                raise OddJpegError("components of an unknown kind")
            blocks += across * down
            self._quantisers[body[at]] = body[at + 2]
        if blocks > _MOST_BLOCKS:
            raise OddJpegError("components of an unknown kind")

    def _read_scan(self, body: bytes) -> None:
        components = body[1 : 1 + 2 * body[0] : 2]
        tables = body[2 : 2 + 2 * body[0] : 2]
        start, end, bits = body[1 + 2 * body[0] :]
        if not self._frame or not components or len(set(components)) != len(components):
            raise OddJpegError("a scan without a frame")
        if not set(components) <= set(self._quantisers):
            raise OddJpegError("a scan of unknown components")
        if not set(self._quantisers.values()) <= self._quantised:
            raise OddJpegError("a quantisation table is missing")
        progressive = self._frame == _PROGRESSIVE
        # The first scan of a progressive picture holds the averages (coefficient 0) alone, less at
        # most 13 of their bits.
        if (start, end) != ((0, 0) if progressive else (0, 63)) or bits > 13 * progressive:
            raise OddJpegError("a scan of an unknown kind")
        needed = {table >> 4 for table in tables}
        if not progressive:
            needed |= {0x10 | table & 15 for table in tables}
        if not needed <= self._huffman:
            raise OddJpegError("a Huffman table is missing")
