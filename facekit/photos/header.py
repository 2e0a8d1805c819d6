"""A photo's kind, size and orientation from its header alone; without a picture library.

Pillow's sizes won't do: it turns those of TIFF files on its own, and opens no file whose metadata
it stumbles over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from facekit.photos.blocks import jpeg_segments, read_at, webp_chunks
from facekit.photos.formats import BMP_HEADERS, HEAD_BYTES, Kind, kind_of
from facekit.photos.orientation import read_orientation
from facekit.photos.tiff_directory import LENGTH, WIDTH, full_page


@dataclass(frozen=True)
class Header:
    """What a photo's header says.

    Attributes:
        kind: Of file.
        stored_wh: Width and height of the pixels as stored.
        orientation: EXIF orientation 1..8 that turns them upright.
    """

    kind: Kind
    stored_wh: tuple[int, int]
    orientation: int

    @property
    def upright_wh(self) -> tuple[int, int]:
        """Width and height of the upright photo."""
        return self.stored_wh[::-1] if self.orientation >= 5 else self.stored_wh


def read_photo_header(stream: BinaryIO) -> Header:
    """Read a photo's header.

    Args:
        stream: A whole file.

    Raises:
        PhotoError: A TIFF is a camera's raw picture.
        ValueError: The file is none of the accepted kinds, or its header is cut off or broken.
    """
    head = read_at(stream, 0, HEAD_BYTES)
    kind = kind_of(head)
    if kind is None:
        raise ValueError("no photo of an accepted kind")
    try:
        stored_wh = _SIZES[kind](stream, head)
    except struct.error as error:
        raise ValueError("the header ends too early") from error
    if min(stored_wh) < 1:
        raise ValueError(f"a size of {stored_wh[0]} x {stored_wh[1]} pixels")
    return Header(kind, stored_wh, read_orientation(stream))


def _jpeg_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    for block in jpeg_segments(stream):
        if block.is_frame:
            height, width = struct.unpack(">HH", read_at(stream, block.body + 1, 4))
            return width, height
    raise ValueError("no frame header")


def _png_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    if head[12:16] != b"IHDR":
        raise ValueError("it does not begin with its header")
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _webp_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    for block in webp_chunks(stream):
        body = read_at(stream, block.body, 10)
        if block.name == b"VP8X":
            width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
            return (width, height) if len(body) == 10 else (0, 0)
        if block.name == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            return width & 0x3FFF, height & 0x3FFF
        if block.name == b"VP8L":
            (bits,) = struct.unpack_from("<I", body, 1)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("no pixels")


def _bmp_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    if int.from_bytes(head[14:18], "little") not in BMP_HEADERS:
        raise ValueError("no header of a BMP")  # Many a text begins as a BMP does.
    if head[14:18] == b"\x0c\0\0\0":
        width, height = struct.unpack_from("<HH", head, 18)
    else:
        width, height = struct.unpack_from("<ii", head, 18)
    return width, abs(height)  # Rows from the top down have a negative height.


def _tiff_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    page = full_page(stream)
    return page.integer(WIDTH) or 0, page.integer(LENGTH) or 0


_SIZES = {
    "JPEG": _jpeg_size,
    "PNG": _png_size,
    "WebP": _webp_size,
    "BMP": _bmp_size,
    "TIFF": _tiff_size,
}
