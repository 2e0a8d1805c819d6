"""TIFF files of every layout, written field by field."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from tests.photo_files import encode

PACKED = {"none": 1, "LZW": 5, "Deflate": 8, "PackBits": 32773}
_PILLOW = {"LZW": "tiff_lzw", "Deflate": "tiff_adobe_deflate", "PackBits": "packbits"}
GRAY, WHITE_IS_ZERO, RGB, PALETTE, CMYK = 1, 0, 2, 3, 5


@dataclass
class Tiff:
    """How a picture is laid out.

    Attributes:
        samples: Unsigned (H, W, S), each below 2 to the ``bits``.
        rows: Of a strip, or of a tile.
        tile_width: 0 for strips.
        extra: ExtraSamples.
        fields: Further fields, tag to numbers of 32 bits, or to the bytes of one.
    """

    samples: NDArray[np.unsignedinteger]
    bits: int = 8
    photometric: int | None = GRAY
    compression: str = "none"
    order: str = "<"
    planar: bool = False
    predictor: bool = False
    reversed_bits: bool = False
    big: bool = False
    rows: int = 20
    tile_width: int = 0
    extra: tuple[int, ...] = ()
    sample_format: int | None = None
    fields: dict[int, tuple[int, ...] | bytes] = field(default_factory=dict)


def tiff(*pages: Tiff) -> bytes:
    """Write the pages one behind the other."""
    order, big = pages[0].order, pages[0].big
    letter, size = ("Q", 8) if big else ("I", 4)
    magic = struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    data = bytearray((b"II" if order == "<" else b"MM") + magic + bytes(size))
    link = len(data) - size
    for page in pages:
        fields = _fields(page, data)
        data += b"\0" * (len(data) % 2)
        data[link : link + size] = struct.pack(f"{order}{letter}", len(data))
        behind = bytearray()
        entries = struct.pack(f"{order}{'Q' if big else 'H'}", len(fields))
        start = len(data) + len(entries) + len(fields) * (20 if big else 12) + size
        for tag, value in sorted(fields.items()):
            kind, count = (7, len(value)) if isinstance(value, bytes) else (4, len(value))
            if tag in (258, 320, 338, 339):
                kind = 3
            body = value if isinstance(value, bytes) else struct.pack(
                f"{order}{count}{'H' if kind == 3 else 'I'}", *value
            )  # fmt: skip
            entries += struct.pack(f"{order}HH{letter}", tag, kind, count)
            if len(body) <= size:
                entries += body.ljust(size, b"\0")
            else:
                entries += struct.pack(f"{order}{letter}", start + len(behind))
                behind += body + b"\0" * (len(body) % 2)
        link = len(data) + len(entries)
        data += entries + bytes(size) + behind
    return bytes(data)


def _fields(page: Tiff, data: bytearray) -> dict[int, tuple[int, ...] | bytes]:
    """Write a page's pixels, and return its fields."""
    high, wide, count = page.samples.shape
    offsets, sizes = [], []
    planes = [page.samples[..., k : k + 1] for k in range(count)] if page.planar else [page.samples]
    for plane in planes:
        for part in _parts(page, plane):
            body = _compressed(_packed(page, part), page.compression)
            if page.reversed_bits:
                body = np.packbits(
                    np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")
                ).tobytes()
            offsets.append(len(data))
            sizes.append(len(body))
            data += body
    fields: dict[int, tuple[int, ...] | bytes] = {
        256: (wide,), 257: (high,), 258: (page.bits,) * count, 259: (PACKED[page.compression],),
        277: (count,), 284: (2 if page.planar else 1,),
    }  # fmt: skip
    if page.photometric is not None:
        fields[262] = (page.photometric,)
    if page.tile_width:
        fields |= {322: (page.tile_width,), 323: (page.rows,), 324: tuple(offsets)}
        fields[325] = tuple(sizes)
    else:
        fields |= {273: tuple(offsets), 278: (page.rows,), 279: tuple(sizes)}
    if page.predictor:
        fields[317] = (2,)
    if page.reversed_bits:
        fields[266] = (2,)
    if page.extra:
        fields[338] = page.extra
    if page.sample_format is not None:
        fields[339] = (page.sample_format,) * count
    return fields | page.fields


def _parts(page: Tiff, plane: NDArray[np.unsignedinteger]) -> list[NDArray[np.unsignedinteger]]:
    high, wide, _ = plane.shape
    if not page.tile_width:
        return [plane[top : top + page.rows] for top in range(0, high, page.rows)]
    padded = np.pad(
        plane, ((0, -high % page.rows), (0, -wide % page.tile_width), (0, 0)), mode="edge"
    )
    return [
        padded[top : top + page.rows, left : left + page.tile_width]
        for top in range(0, high, page.rows)
        for left in range(0, wide, page.tile_width)
    ]


def _packed(page: Tiff, part: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Return the rows' bytes, uint8 (rows, bytes)."""
    values = part.astype(np.uint16)
    if page.predictor:
        values = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
    values = values.reshape(len(values), -1)
    if page.bits == 16:
        return values.astype(f"{page.order}u2").view(np.uint8).reshape(len(values), -1)
    if page.bits == 8:
        return values.astype(np.uint8)
    shifts = np.arange(page.bits - 1, -1, -1)
    bits = (values[..., None] >> shifts & 1).astype(np.uint8)
    return np.packbits(bits.reshape(len(values), -1), axis=1)


def _compressed(rows: NDArray[np.uint8], compression: str) -> bytes:
    """Compress bytes by letting Pillow write them as one strip of a gray picture."""
    if compression == "none":
        return rows.tobytes()
    image = Image.fromarray(rows)
    data = encode(image, "TIFF", compression=_PILLOW[compression], tiffinfo={278: len(rows)})
    written = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    (offset,), (size,) = written.tag_v2[273], written.tag_v2[279]
    return data[offset : offset + size]
