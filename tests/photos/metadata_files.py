"""Metadata of any kind and state, put into photo files of each format."""

from __future__ import annotations

import struct
import zlib

from tests.photo_files import exif, with_segment

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
PNG_HEAD = 8 + 25


def exif_body(orientation: int) -> bytes:
    """A whole EXIF block without the name in front of it."""
    return exif(orientation).tobytes()[6:]


def odd_exif(orientation: int) -> bytes:
    """Orientation beside a rational of -1/0, which Pillow reads and can't write again."""
    entries = [(0x0112, 3, 1, orientation << 0), (0x011A, 10, 1, 8 + 2 + 24 + 4)]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHIH", b"II", 42, 8, 2) + body + struct.pack("<I", 0)
        + struct.pack("<ii", -1, 0)
    )  # fmt: skip


GARBAGE = {
    "EXIF without a TIFF header": b"\1\2\3\4 no header at all",
    "EXIF that is text": b"taken on a sunny day",
    "EXIF that is cut off": b"II*\0\x08\0\0\0\x09\0\x12\1",
    "EXIF that points beyond its end": struct.pack("<2sHI", b"II", 42, 1 << 31),
    "empty EXIF": b"",
}


def png_chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def with_chunk(png: bytes, *chunks: bytes, at: int = PNG_HEAD) -> bytes:
    """A PNG with further chunks, by default behind its header."""
    return png[:at] + b"".join(chunks) + png[at:]


def with_webp_chunks(webp: bytes, *chunks: tuple[bytes, bytes], size_wh: tuple[int, int]) -> bytes:
    """A simple WebP made an extended one that announces EXIF and XMP, with chunks of any name."""
    body = webp[12:]
    alpha = 0x10 if body[:4] == b"VP8L" and body[12] & 0x10 else 0
    flags = bytes([0x08 | 0x04 | alpha, 0, 0, 0])
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size_wh)
    blocks = [b"VP8X", struct.pack("<I", 10), flags, sides, body]
    for name, content in chunks:
        blocks += [name, struct.pack("<I", len(content)), content, b"\0" * (len(content) % 2)]
    whole = b"WEBP" + b"".join(blocks)
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


def png_metadata() -> dict[str, list[bytes]]:
    """Chunks that decoders refuse a PNG for, and must not."""
    long = zlib.compress(b"a" * 3_000_000)
    return {
        "text of 3 MB, packed": [png_chunk(b"zTXt", b"Comment\0\0" + long)],
        "international text of 3 MB, packed": [png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + long)],
        "color profile of 3 MB": [png_chunk(b"iCCP", b"icc\0\0" + long)],
        "color profile packed by an unknown method": [png_chunk(b"iCCP", b"icc\0\7" + long)],
        "wrong checksum of a text": [png_chunk(b"tEXt", b"Comment\0hello", 7)],
        "wrong checksum of a background": [png_chunk(b"bKGD", b"\0\1\0\1\0\1", 7)],
        "broken gamma and size": [png_chunk(b"gAMA", b"\0"), png_chunk(b"pHYs", b"\1\2")],
        "animation in odd order": [
            png_chunk(b"fcTL", bytes(26)), png_chunk(b"acTL", struct.pack(">II", 1, 0)),
            png_chunk(b"fdAT", bytes(9)),
        ],
    }  # fmt: skip


def jpeg_with_exif(jpeg: bytes, body: bytes) -> bytes:
    return with_segment(jpeg, 0xE1, b"Exif\0\0" + body)
