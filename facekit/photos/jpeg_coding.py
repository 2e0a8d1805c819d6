"""Check that every decoder takes a JPEG's tables, frame and scans.

libjpeg, which DALI decodes with on a CPU, forgives damaged picture data and gives up on damaged
segments, of which a progressive JPEG has many behind its first scan. Source of all limits: ITU-T
T.81, annex B and G.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from facekit import limits

DHT, DQT, DRI, SOS = 0xC4, 0xDB, 0xDD, 0xDA
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_MOST_BLOCKS = 10  # of all components in one unit of a scan
_UNSENT = -1


class OddJpegError(ValueError):
    """Something in the JPEG is broken, or of a kind that not every decoder reads."""


@dataclass
class _Component:
    across: int
    down: int
    quantizer: int
    missing_bits: list[int]
    """How many low bits of each of the 64 coefficients are still to come, or ``_UNSENT``."""


class JpegCoding:
    """Tables, frame and scans of one JPEG, whose segments are read in their order.

    ``components`` is how many components the frame has; 0 before it.
    """

    def __init__(self) -> None:
        self.components = 0
        self._progressive = False
        self._size_wh = (0, 0)
        self._restart_interval = 0
        self._quantizers: set[int] = set()
        self._huffman: dict[int, int] = {}  # class in the high half byte, id low: largest symbol
        self._parts: dict[int, _Component] = {}

    @property
    def is_begun(self) -> bool:
        """Whether every component has had a scan: a decoder has something to show."""
        return all(part.missing_bits[0] != _UNSENT for part in self._parts.values())

    @property
    def is_complete(self) -> bool:
        """Whether every bit of every coefficient has had its scan."""
        return all(not any(part.missing_bits) for part in self._parts.values())

    def read(self, marker: int, body: bytes) -> None:
        """Take in one segment in front of or between scans.

        Raises OddJpegError if not every decoder takes it, and PhotoError for a progressive JPEG
        with too many pixels.
        """
        if marker == DQT:
            self._read_quantizers(body)
        elif marker == DHT:
            self._huffman.update(_largest_symbols(body))
        elif marker == DRI:
            if len(body) != 2:
                raise OddJpegError("a restart interval of an unknown kind")
            (self._restart_interval,) = struct.unpack(">H", body)
        elif marker in FRAMES:
            self._read_frame(marker, body)

    def _read_quantizers(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            wide, table = divmod(body[at], 16)
            if wide > 1 or table > 3:
                raise OddJpegError("a quantization table of an unknown kind")
            self._quantizers.add(table)
            at += 65 + 64 * wide
        if at != len(body):
            raise OddJpegError("a quantization table ends too early")

    def _read_frame(self, marker: int, body: bytes) -> None:
        if self._parts:
            raise OddJpegError("two frames")
        precision, height, width, components = struct.unpack_from(">BHHB", body)
        self._progressive = marker == _PROGRESSIVE
        plain = marker in _BASELINE or self._progressive
        if not plain or precision != 8 or not height or not width:
            raise OddJpegError("a frame that not every decoder reads")
        if components not in (1, 3) or len(body) != 6 + 3 * components:
            raise OddJpegError(f"a JPEG of {components} components")
        if self._progressive:
            limits.check_size(width, height, "progressive JPEG")
        blocks = 0
        for at in range(6, len(body), 3):
            across, down = divmod(body[at + 1], 16)
            if across not in (1, 2, 4) or down not in (1, 2, 4) or body[at] in self._parts:
                raise OddJpegError("components of an unknown kind")
            blocks += across * down
            self._parts[body[at]] = _Component(across, down, body[at + 2], [_UNSENT] * 64)
        if blocks > _MOST_BLOCKS:
            raise OddJpegError("components of an unknown kind")
        self._size_wh = (width, height)
        self.components = components

    def read_scan(self, body: bytes) -> int:
        """Take in the header of a scan, and return how many restart markers its data have.

        Raises OddJpegError if not every decoder takes it, here and now.
        """
        names = body[1 : 1 + 2 * body[0] : 2]
        if not self._parts or not names or len(body) != 4 + 2 * body[0]:
            raise OddJpegError("a scan of an unknown kind, or without a frame")
        if list(names) != [name for name in self._parts if name in names]:
            raise OddJpegError("a scan of unknown components")
        parts = [self._parts[name] for name in names]
        if not {part.quantizer for part in parts} <= self._quantizers:
            raise OddJpegError("a quantization table is missing")
        start, end = body[-3], body[-2]
        high, low = divmod(body[-1], 16)
        self._advance(parts, start, end, high, low)
        needed = set()
        if start == 0 and not high:
            needed |= {table >> 4 for table in body[2:-3:2]}
        if end > 0:
            needed |= {0x10 | table & 15 for table in body[2:-3:2]}
        if not needed <= set(self._huffman):
            raise OddJpegError("a Huffman table is missing")
        units, blocks = self._count_units(parts)
        if self._progressive and start == 0 and not high:
            # The averages are sent as differences. libjpeg refuses a progressive picture in which
            # they add up to more than 31 bits.
            widest = max(self._huffman[table] for table in needed)
            if blocks << widest >= 1 << 31:
                raise OddJpegError("averages that may overflow")
        return (units - 1) // self._restart_interval if self._restart_interval else 0

    def _advance(self, parts: list[_Component], start: int, end: int, high: int, low: int) -> None:
        if self._progressive:
            # Averages (coefficient 0) of any components, or the others of a single one.
            legal = start == end == 0 or (0 < start <= end < 64 and len(parts) == 1)
        else:
            legal = (start, end, high, low) == (0, 63, 0, 0)
        # The first scan of a coefficient lacks some low bits, each later one brings one of them.
        if not legal or low > 13 or (high and low != high - 1):
            raise OddJpegError("a scan of an unknown kind")
        for part in parts:
            count = end + 1 - start
            expected = [high or _UNSENT] * count
            averages_are_missing = start > 0 and part.missing_bits[0] == _UNSENT
            if averages_are_missing or part.missing_bits[start : end + 1] != expected:
                raise OddJpegError("scans in an unknown order")
            part.missing_bits[start : end + 1] = [low] * count

    def _count_units(self, parts: list[_Component]) -> tuple[int, int]:
        """Return the units of a scan, and the most blocks that one component may have in it."""
        width, height = self._size_wh
        widest = max(part.across for part in self._parts.values())
        tallest = max(part.down for part in self._parts.values())
        if len(parts) == 1:
            across = -(-width * parts[0].across // (8 * widest))
            down = -(-height * parts[0].down // (8 * tallest))
            return across * down, across * down
        units = -(-width // (8 * widest)) * -(-height // (8 * tallest))
        return units, units * max(part.across * part.down for part in parts)


@lru_cache(maxsize=64)  # most cameras and programs write the tables of T.81's annex K
def _largest_symbols(body: bytes) -> dict[int, int]:
    """Return the largest symbol of each table in a DHT segment, by its class and id.

    Raises OddJpegError if not every decoder takes it.
    """
    largest, at = {}, 0
    while at < len(body):
        kind, table = divmod(body[at], 16)
        counts = body[at + 1 : at + 17]
        total = sum(counts)
        most = max(body[at + 17 : at + 17 + total], default=0)
        # More codes than their lengths leave room for can't be told apart.
        room = sum(count << (16 - bits) for bits, count in enumerate(counts, 1))
        # The symbols of class 0 are lengths in bits, which end at 15.
        unknown = kind > 1 or table > 3 or (kind == 0 and most > 15)
        if unknown or room > 1 << 16 or len(counts) < 16 or total > 256:
            raise OddJpegError("a Huffman table of an unknown kind")
        largest[body[at]] = most
        at += 17 + total
    if at != len(body):
        raise OddJpegError("a Huffman table ends too early")
    return largest
