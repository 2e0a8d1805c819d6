"""Decode a PNG from those of its chunks that make the picture, whatever is in the others.

Source of all chunks: the W3C's PNG specification, third edition.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from facekit.errors import PhotoError
from facekit.photos.blocks import PNG_SIGNATURE, png_chunks

_GRAY, _RGB, _PALETTE = 0, 2, 3
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def open_png(raw: bytes) -> Image.Image:
    """Decode a PNG; of an animated one the picture that all viewers show.

    Pixels of a color that a gray or RGB file declares to be transparent are white.

    Raises:
        PhotoError: The file is cut off, or a chunk of the picture itself is damaged.
    """
    stream = io.BytesIO(raw)
    kept, clear, header = [], b"", b""
    for block in png_chunks(stream):
        end = block.body + block.length + 4
        # The letters' case tells which chunks are part of the picture.
        critical = block.name[:1].isupper() and block.name != b"IEND"
        if not critical and block.name != b"tRNS":
            continue
        body = raw[block.body : end - 4]
        whole = end <= len(raw)
        checksum = struct.pack(">I", zlib.crc32(block.name + body))
        if not whole or raw[end - 4 : end] != checksum:
            if not critical:
                continue  # as libpng does
            what = "a wrong checksum in" if whole else "the file ends within"
            name = block.name.decode("ascii", "replace")
            raise PhotoError(f"truncated or corrupt PNG: {what} its chunk {name}")
        if block.name == b"IHDR":
            header = body
        if block.name == b"tRNS" and header[9:10] != bytes([_PALETTE]):
            clear = body
        else:
            kept.append(raw[block.start : end])
    image = PngImageFile(io.BytesIO(b"".join([PNG_SIGNATURE, *kept, _END])))
    bits, color = header[8], header[9]
    if len(clear) != {_GRAY: 2, _RGB: 6}.get(color):
        return image
    return _whitened(image, bits, struct.unpack(f">{len(clear) // 2}H", clear))


def _whitened(image: Image.Image, bits: int, color: tuple[int, ...]) -> Image.Image:
    """Return a gray or RGB picture with all pixels of one color made white."""
    if bits == 16 and len(color) == 3:
        # Pillow keeps only the upper half of each sample, and of the lower one none can be told.
        raise PhotoError("PNG with 16-bit RGB and a transparent color is not read: save it as JPEG")
    # Samples of less than 8 bits are stretched, and so is the color.
    scale = 255 // (2**bits - 1) if bits < 8 else 1
    pixels = np.array(image.convert("L") if bits < 8 else image)
    key = np.array(color) * scale
    clear = pixels == key[0] if len(color) == 1 else (pixels == key).all(axis=2)
    pixels[clear] = 65535 if bits == 16 else 255
    return Image.fromarray(pixels)
