"""Read a photo's kind, size and orientation from its header alone, without Pillow.

Pillow's sizes won't do: it turns TIFF files by itself, and opens no file whose metadata it stumbles
over. Orientation is decided here for the server, drawings and labels. Metadata never refuses a
photo: what can't be understood is passed over, and a value beyond 1..8 is 1.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from facekit.photos import blocks, tiff_directory
from facekit.photos.formats import BMP_HEADERS, HEAD_BYTES, Kind, kind_of

if TYPE_CHECKING:
    from PIL import Image

MAX_METADATA_BYTES = 1 << 20
"""Read of one block: EXIF of a phone has 1 to 64 KB, and its first entries tell."""

_MOST_TEXTS = 4
"""Text chunks of one PNG that are unpacked; one is usual."""

_JPEG_EXIF = b"Exif\0\0"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_EXIF_TEXT = b"Raw profile type exif"  # of ImageMagick, before PNG had a chunk for it
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Flags of a WebP's VP8X chunk.
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04

# The ``Image.Transpose`` that turns the stored pixels upright, by EXIF orientation.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class Header:
    """A file's kind, size as stored, and the EXIF orientation that turns its pixels upright."""

    kind: Kind
    stored_wh: tuple[int, int]
    orientation: int

    @property
    def upright_wh(self) -> tuple[int, int]:
        """Width and height of the upright photo."""
        return upright_size(self.stored_wh, self.orientation)


def upright_size(size_wh: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return width and height of a photo once its EXIF orientation 1..8 is applied."""
    return size_wh[::-1] if orientation >= 5 else size_wh


def read_photo_header(stream: BinaryIO) -> Header:
    """Read the header of a photo's file.

    Raises PhotoError for a camera's raw picture in a TIFF, and ValueError if the file is none of
    the accepted kinds, or its header is cut off or broken.
    """
    head = blocks.read_at(stream, 0, HEAD_BYTES)
    kind = kind_of(head)
    if kind is None:
        raise ValueError("not a photo of an accepted kind")
    try:
        stored_wh = _SIZES[kind](stream, head)
    except struct.error as error:
        raise ValueError("the header ends too early") from error
    if min(stored_wh) < 1:
        raise ValueError(f"a size of {stored_wh[0]} x {stored_wh[1]} pixels")
    return Header(kind, stored_wh, read_orientation(stream))


def _jpeg_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    for block in blocks.jpeg_segments(stream):
        if block.is_frame:
            height, width = struct.unpack(">HH", blocks.read_at(stream, block.body + 1, 4))
            return width, height
    raise ValueError("no frame header")


def _png_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    if head[12:16] != b"IHDR":
        raise ValueError("it does not begin with its header")
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _webp_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    for block in blocks.webp_chunks(stream):
        body = blocks.read_at(stream, block.body, 10)
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
    letters = "<HH" if head[14:18] == b"\x0c\0\0\0" else "<ii"
    width, height = struct.unpack_from(letters, head, 18)
    return width, abs(height)  # Rows from the top down have a negative height.


def _tiff_size(stream: BinaryIO, head: bytes) -> tuple[int, int]:
    page = tiff_directory.full_page(stream)
    return page.integer(tiff_directory.WIDTH) or 0, page.integer(tiff_directory.LENGTH) or 0


_SIZES = {
    "JPEG": _jpeg_size,
    "PNG": _png_size,
    "WebP": _webp_size,
    "BMP": _bmp_size,
    "TIFF": _tiff_size,
}


def upright_points(
    points_xy: NDArray[np.float32], size_wh: tuple[int, int], orientation: int
) -> NDArray[np.float32]:
    """Turn points of the stored pixels upright, as ``facekit.photos`` turns the pixels.

    They are float32 [..., 2] in pixels of the photo as stored, of size ``size_wh``, from the outer
    corner of its first pixel; NaN stays NaN. ``orientation`` is EXIF's, 1..8.
    """
    x, y = points_xy[..., 0], points_xy[..., 1]
    right, below = size_wh[0] - x, size_wh[1] - y
    turned = {
        1: (x, y), 2: (right, y), 3: (right, below), 4: (x, below),
        5: (y, x), 6: (below, x), 7: (below, right), 8: (y, right),
    }[orientation]  # fmt: skip
    return np.stack(turned, axis=-1, dtype=np.float32)


def upright_boxes(
    boxes_xyxy: NDArray[np.float32], size_wh: tuple[int, int], orientation: int
) -> NDArray[np.float32]:
    """Turn boxes float32 [n, 4] (x1, y1, x2, y2) upright, as :func:`upright_points` does."""
    corners = upright_points(boxes_xyxy.reshape(-1, 2, 2), size_wh, orientation)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return stored pixels turned upright by their EXIF orientation 1..8; itself for 1."""
    from PIL import Image

    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(Image.Transpose[turn])


def read_orientation(stream: BinaryIO) -> int:
    """Return the EXIF orientation 1..8 of a file, that of its XMP where EXIF has none, or else 1.

    Only metadata is read.
    """
    try:
        for value in _orientations(stream):
            return value if 1 <= value <= 8 else 1
    # Whatever is wrong with it, or with the file around it, the pixels are what they are.
    except Exception:
        pass
    return 1


def _orientations(stream: BinaryIO) -> Iterator[int]:
    """Yield the orientations that a photo states, the one that counts first."""
    head = blocks.read_at(stream, 0, 12)
    if head[:2] in (b"II", b"MM"):
        page = tiff_directory.full_page(stream)
        if tiff_directory.ORIENTATION in page.entries:
            yield page.integer(tiff_directory.ORIENTATION) or 1
        xmp = [page.bytes(tiff_directory.XMP, MAX_METADATA_BYTES)]
    elif head[:2] == b"\xff\xd8":
        xmp = yield from _jpeg_orientations(stream)
    elif head[:8] == blocks.PNG_SIGNATURE:
        xmp = yield from _png_orientations(stream)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        xmp = yield from _webp_orientations(stream)
    else:
        return
    yield from (int(found[1]) for found in map(_XMP_ORIENTATION.search, xmp) if found)


def _jpeg_orientations(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    """Yield those of EXIF, and return the blocks of XMP."""
    xmp = []
    for block in blocks.jpeg_segments(stream):
        if block.name == b"\xe1":
            body = _body(stream, block)
            if body[:6] == _JPEG_EXIF:
                yield from _exif_orientation(body)
            elif body.startswith(_JPEG_XMP):
                xmp.append(body)
    return xmp


def _png_orientations(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    xmp: list[bytes] = []
    texts: list[bytes] = []
    for block in blocks.png_chunks(stream):
        if block.name == b"eXIf":
            yield from _exif_orientation(_body(stream, block))
        elif block.name in (b"iTXt", b"zTXt", b"tEXt") and len(xmp) + len(texts) < _MOST_TEXTS:
            keyword, _, rest = _body(stream, block).partition(b"\0")
            if keyword == _PNG_XMP and block.name == b"iTXt":
                # Whether it is compressed, how, and two names that end with a zero byte.
                text = rest[2:].split(b"\0", 2)[-1]
                xmp.append(_inflated(text) if rest[:1] == b"\1" else text)
            elif keyword == _PNG_EXIF_TEXT and block.name != b"iTXt":
                texts.append(_inflated(rest[1:]) if block.name == b"zTXt" else rest)
    for text in texts:
        # An empty line, the profile's name, its length, and then its bytes in hexadecimal digits.
        try:
            body = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
        except ValueError:
            continue
        yield from _exif_orientation(body)
    return xmp


def _webp_orientations(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    xmp, flags = [], 0
    for block in blocks.webp_chunks(stream):
        if block.name == b"VP8X":
            flags = (_body(stream, block) or b"\0")[0]
        elif block.name == b"EXIF" and flags & _WEBP_EXIF:
            yield from _exif_orientation(_body(stream, block))
        elif block.name == b"XMP " and flags & _WEBP_XMP:
            xmp.append(_body(stream, block))
    return xmp


def _exif_orientation(exif: bytes) -> Iterator[int]:
    try:
        directory = tiff_directory.first_directory(io.BytesIO(exif.removeprefix(_JPEG_EXIF)))
    except ValueError:
        return
    if tiff_directory.ORIENTATION in directory.entries:
        yield directory.integer(tiff_directory.ORIENTATION) or 1


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_METADATA_BYTES)
    except zlib.error:
        return b""


def _body(stream: BinaryIO, block: blocks.Block) -> bytes:
    return blocks.read_at(stream, block.body, min(block.length, MAX_METADATA_BYTES))
