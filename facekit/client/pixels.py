"""Wrap decoded pixels as a lossless photo file, with NumPy and the standard library alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.errors import PhotoError

Pixels = npt.NDArray[np.uint8]


def encode_pixels(pixels: Pixels) -> bytes:
    """Encode pixels as an uncompressed BMP, or as a PNG where a BMP is over the limit on bytes.

    A BMP costs client and server a copy; zlib's fastest level about twenty times as much.

    Args:
        pixels: uint8 (H, W) gray, or (H, W, 3) red, green, blue.

    Raises:
        PhotoError: Another dtype or shape, no pixels, or over a limit of ``facekit.limits``.
    """
    _check(pixels)
    height, width = pixels.shape[:2]
    channels = 3 if pixels.ndim == 3 else 1
    if (width * channels + 3) // 4 * 4 * height + 2048 <= limits.MAX_PHOTO_BYTES:
        return _bmp(pixels)
    data = _png(pixels)
    if len(data) > limits.MAX_PHOTO_BYTES:
        raise PhotoError(
            f"{width} x {height} pixels are {len(data):,} bytes as a PNG; the limit is "
            f"{limits.MAX_PHOTO_BYTES:,}: send them as a JPEG, or make them smaller"
        )
    return data


def _check(pixels: Pixels) -> None:
    if pixels.dtype != np.uint8:
        raise PhotoError(f"array: expected dtype uint8, got {pixels.dtype}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise PhotoError(
            "array: expected encoded bytes (n,), gray pixels (H, W) or RGB pixels (H, W, 3), "
            f"got shape {pixels.shape}"
        )
    if pixels.size == 0:
        raise PhotoError(f"array: no pixels in shape {pixels.shape}")
    height, width = pixels.shape[:2]
    limits.check_size(width, height)


def _bmp(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    palette = b""
    if pixels.ndim == 2:
        levels = np.arange(256, dtype=np.uint8)
        palette = np.stack([levels, levels, levels, np.zeros_like(levels)], axis=1).tobytes()
        rows = pixels
    else:
        rows = pixels[:, :, ::-1].reshape(height, width * 3)
    # Rows are stored bottom up, and padded to four bytes.
    padded = np.zeros((height, (rows.shape[1] + 3) // 4 * 4), np.uint8)
    padded[:, : rows.shape[1]] = rows[::-1]
    offset = 14 + 40 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", offset + padded.nbytes, 0, 0, offset)
    info = struct.pack(
        "<IiiHHIIiiII",
        40, width, height, 1, 8 if palette else 24, 0, padded.nbytes, 0, 0, len(palette) // 4, 0,
    )  # fmt: skip
    return b"".join([header, info, palette, padded.tobytes()])


def _png(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    # Filter 2 of PNG: each row as its difference from the row above, which compresses better.
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    color_type = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(filtered.data, 1)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
