"""How a photo is turned: the one place that decides it, for the server, drawings and labels.

Metadata never refuses a photo. What can't be understood of it is passed over, a value beyond 1..8
is 1, and nothing here raises. Pillow's own reading is not used, because its parser of EXIF raises
errors of many kinds, and differs from version to version in what it turns on its own.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, BinaryIO

from facekit.photos.blocks import (
    PNG_SIGNATURE,
    Block,
    jpeg_segments,
    png_chunks,
    read_at,
    webp_chunks,
)
from facekit.photos.tiff_directory import ORIENTATION, XMP, first_directory, full_page

if TYPE_CHECKING:
    from PIL import Image

MAX_METADATA_BYTES = 1 << 20
"""Of one block that are looked at: EXIF of a phone is 1 to 64 KB, and its first entries tell."""

_MOST_TEXTS = 4
"""Of one PNG that are unpacked; there is one."""

_JPEG_EXIF = b"Exif\0\0"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp"
_PNG_EXIF_TEXT = b"Raw profile type exif"  # of ImageMagick, before PNG had a chunk for it
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Flags of a WebP's VP8X chunk.
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04

# What ``Image.Transpose`` turns the stored pixels upright, by EXIF orientation.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn stored pixels upright.

    Args:
        image: As stored.
        orientation: EXIF orientation 1..8.

    Returns:
        A turned copy, or the image itself where there is nothing to turn.
    """
    from PIL import Image

    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(Image.Transpose[turn])


def read_orientation(stream: BinaryIO) -> int:
    """Return a photo's EXIF orientation 1..8, that of its XMP where EXIF has none, or else 1.

    Args:
        stream: A whole file of any kind; only its metadata is read.
    """
    try:
        for value in _stated(stream):
            return value if 1 <= value <= 8 else 1
    # Whatever is wrong with it, or with the file around it, the pixels are what they are.
    except Exception:
        pass
    return 1


def _stated(stream: BinaryIO) -> Iterator[int]:
    """Give the orientations that a photo states, the one that counts first."""
    head = read_at(stream, 0, 12)
    if head[:2] in (b"II", b"MM"):
        page = full_page(stream)
        if ORIENTATION in page.entries:
            yield page.integer(ORIENTATION) or 1
        xmp = [page.bytes(XMP, MAX_METADATA_BYTES)]
    elif head[:2] == b"\xff\xd8":
        xmp = yield from _jpeg_stated(stream)
    elif head[:8] == PNG_SIGNATURE:
        xmp = yield from _png_stated(stream)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        xmp = yield from _webp_stated(stream)
    else:
        return
    yield from (int(found[1]) for found in map(_XMP_ORIENTATION.search, xmp) if found)


def _jpeg_stated(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    xmp = []
    for block in jpeg_segments(stream):
        if block.name == b"\xe1":
            body = _body(stream, block)
            if body[:6] == _JPEG_EXIF:
                yield from _exif_orientation(body[6:])
            elif body.startswith(_JPEG_XMP):
                xmp.append(body)
    return xmp


def _png_stated(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    xmp: list[bytes] = []
    texts: list[bytes] = []
    for block in png_chunks(stream):
        if block.name == b"eXIf":
            body = _body(stream, block)
            yield from _exif_orientation(body[6:] if body[:6] == _JPEG_EXIF else body)
        elif block.name in (b"iTXt", b"zTXt", b"tEXt") and len(xmp) + len(texts) < _MOST_TEXTS:
            keyword, _, rest = _body(stream, block).partition(b"\0")
            if keyword == _PNG_XMP and block.name == b"iTXt":
                xmp.append(_itxt(rest))
            elif keyword == _PNG_EXIF_TEXT and block.name != b"iTXt":
                texts.append(_inflated(rest[1:]) if block.name == b"zTXt" else rest)
    for text in texts:
        # An empty line, the profile's name, its length, and then its bytes in hexadecimal digits.
        digits = b"".join(text.split(b"\n")[3:])
        try:
            body = bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            continue
        yield from _exif_orientation(body[6:] if body[:6] == _JPEG_EXIF else body)
    return xmp


def _webp_stated(stream: BinaryIO) -> Generator[int, None, list[bytes]]:
    xmp, flags = [], 0
    for block in webp_chunks(stream):
        if block.name == b"VP8X":
            flags = (_body(stream, block) or b"\0")[0]
        elif block.name == b"EXIF" and flags & _WEBP_EXIF:
            body = _body(stream, block)
            yield from _exif_orientation(body[6:] if body[:6] == _JPEG_EXIF else body)
        elif block.name == b"XMP " and flags & _WEBP_XMP:
            xmp.append(_body(stream, block))
    return xmp


def _exif_orientation(exif: bytes) -> Iterator[int]:
    try:
        directory = first_directory(io.BytesIO(exif))
    except ValueError:
        return
    if ORIENTATION in directory.entries:
        yield directory.integer(ORIENTATION) or 1


def _itxt(rest: bytes) -> bytes:
    """Return the text of an iTXt chunk; ``rest`` is what follows its keyword."""
    # Whether it is compressed, how, and two names that end with a zero byte come before it.
    text = rest[2:].split(b"\0", 2)[-1]
    return _inflated(text) if rest[:1] == b"\1" else text


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_METADATA_BYTES)
    except zlib.error:
        return b""


def _body(stream: BinaryIO, block: Block) -> bytes:
    return read_at(stream, block.body, min(block.length, MAX_METADATA_BYTES))
