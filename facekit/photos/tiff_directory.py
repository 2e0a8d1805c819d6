"""Read the directories of a TIFF file or EXIF: tags, and which page is the photo.

Source of all tags and types: TIFF 6.0, Adobe's TIFF Technical Notes, DNG 1.7 and TIFF/EP.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from facekit.errors import PhotoError
from facekit.photos.blocks import read_at

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, LENGTH, BITS, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 262, 274
SUB_DIRECTORIES, XMP = 330, 700
_DNG_VERSION = 50706
_COLOR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892

# Letter of ``struct`` and size by the type of a field: whole numbers alone.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
# Bytes, text, and undefined; XMP is written as any of them.
_BYTES = (1, 2, 7)
MAX_VALUES = 1 << 20
"""Of one field: more than a photo within the limits has strips or tiles."""

_MOST_PAGES = 256
_MOST_ENTRIES = 1024
"""Of one directory; a camera's has about a hundred."""
# The second of each is found in the wild, with its last two bytes in the other order.
_MAGIC = {b"\0*": False, b"*\0": False, b"\0+": True, b"+\0": True}


@dataclass(frozen=True)
class Directory:
    """One directory (IFD) of a TIFF; ``order`` is its byte order as ``struct`` has it, "<" or ">".

    The entries are type, count of values and offset of the first value, by tag; ``following`` is
    the offset of the next directory, 0 for none.
    """

    stream: BinaryIO
    order: str
    entries: dict[int, tuple[int, int, int]]
    following: int

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a field; none where it is missing, cut off or of another type."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        letter = _INTEGERS.get(kind)
        if letter is None or not 0 < count <= MAX_VALUES:
            return ()
        size = struct.calcsize(letter) * count
        data = read_at(self.stream, offset, size)
        return struct.unpack(f"{self.order}{count}{letter}", data) if len(data) == size else ()

    def integer(self, tag: int) -> int | None:
        """Return the first integer of a field, or None."""
        values = self.integers(tag)
        return values[0] if values else None

    def bytes(self, tag: int, most: int) -> bytes:
        """Return up to ``most`` bytes of a field; none where it is missing or of another type."""
        kind, count, offset = self.entries.get(tag, (0, 0, 0))
        return read_at(self.stream, offset, min(count, most)) if kind in _BYTES else b""

    @property
    def is_full(self) -> bool:
        """Whether it is a picture by itself, and neither a thumbnail nor a mask of another."""
        return not (self.integer(NEW_SUBFILE_TYPE) or 0) & 5 and self.integer(SUBFILE_TYPE) != 2

    @property
    def is_raw(self) -> bool:
        """Whether it holds a sensor's data, of which a raw converter makes a picture."""
        return _DNG_VERSION in self.entries or self.integer(PHOTOMETRIC) in (
            _COLOR_FILTER_ARRAY,
            _LINEAR_RAW,
        )


def first_directory(stream: BinaryIO) -> Directory:
    """Return the first directory of a TIFF or BigTIFF; raises ValueError if it is missing."""
    head = read_at(stream, 0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    big = _MAGIC.get(head[2:4])
    if order is None or big is None or len(head) < (16 if big else 8):
        raise ValueError("no TIFF header")
    (offset,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
    return _directory(stream, order, big, offset)


def full_page(stream: BinaryIO) -> Directory:
    """Return the first page that is a picture by itself, or else the first page.

    Raises PhotoError for a camera's raw picture, and ValueError if there is no directory.
    """
    big = _MAGIC.get(read_at(stream, 2, 2), False)
    first = page = first_directory(stream)
    pages, seen = [first], {0}
    while page.following not in seen and len(pages) < _MOST_PAGES:
        seen.add(page.following)
        try:
            page = _directory(stream, page.order, big, page.following)
        except ValueError:
            break
        pages.append(page)
    if not first.is_full:
        # TIFF/EP, which raw pictures follow, has the picture under its thumbnail.
        for offset in first.integers(SUB_DIRECTORIES)[:_MOST_PAGES]:
            try:
                pages.append(_directory(stream, first.order, big, offset))
            except ValueError:
                continue
    if any(page.is_raw for page in pages):
        raise PhotoError("a camera's raw picture in a TIFF is not read: save it as JPEG")
    return next((page for page in pages if page.is_full), first)


def _directory(stream: BinaryIO, order: str, big: bool, offset: int) -> Directory:
    count_letter, entry_letters, next_letter = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    head_size = struct.calcsize(count_letter)
    head = read_at(stream, offset, head_size)
    if len(head) < head_size or offset == 0:
        raise ValueError("a directory lies beyond the file's end")
    (count,) = struct.unpack(order + count_letter, head)
    if count > _MOST_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    entry_size = 20 if big else 12
    inline = 8 if big else 4
    data = read_at(stream, offset + head_size, count * entry_size + inline)
    entries: dict[int, tuple[int, int, int]] = {}
    for at in range(0, min(count * entry_size, len(data) - entry_size + 1), entry_size):
        tag, kind, values = struct.unpack_from(order + entry_letters, data, at)
        place = offset + head_size + at + entry_size - inline
        size = values * struct.calcsize(_INTEGERS.get(kind, "B"))
        if size > inline:
            (place,) = struct.unpack_from(order + next_letter, data, at + entry_size - inline)
        entries[tag] = kind, values, place
    end = count * entry_size
    whole = len(data) == end + inline
    following = struct.unpack_from(order + next_letter, data, end)[0] if whole else 0
    return Directory(stream, order, entries, following)
