"""Encoded photos for the tests: every format, every orientation, and everything that is none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

SIZE_WH = (200, 120)


def picture(size_wh: tuple[int, int] = SIZE_WH) -> Image.Image:
    """A smooth picture in color whose four corners all differ."""
    width, height = size_wh
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [220 * x + 20, 200 * y + 30, 120 + 100 * np.sin(6 * x + 4 * y)]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8))


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels a camera would store, so that ``orientation`` turns them to ``upright``."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(undo[orientation]) if orientation in undo else upright


def oriented_jpeg(upright: Image.Image, orientation: int) -> bytes:
    data = encode(stored(upright, orientation), "JPEG", quality=95, exif=exif(orientation))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert turned.size == upright.size
    return data


def good_photos() -> dict[str, tuple[bytes, int]]:
    """Name to bytes and channels as stored, of one picture in every accepted form."""
    rgb = picture()
    gray = rgb.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    return {
        "jpeg": (encode(rgb, "JPEG", quality=95), 3),
        "jpeg progressive": (encode(rgb, "JPEG", quality=95, progressive=True), 3),
        "jpeg gray": (encode(gray, "JPEG", quality=95), 1),
        "jpeg cmyk": (encode(rgb.convert("CMYK"), "JPEG", quality=95), 4),
        "jpeg with zeros behind": (encode(rgb, "JPEG", quality=95) + bytes(999), 3),
        "jpeg with a trailer": (encode(rgb, "JPEG", quality=95) + b"SEFT phone data", 3),
        "jpeg of a phone with a second picture": (mpo(rgb, 1), 3),
        "jpeg without Huffman tables": (without_segments(encode(rgb, "JPEG"), 0xC4), 3),
        "png": (encode(rgb, "PNG"), 3),
        "png gray": (encode(gray, "PNG"), 1),
        "png palette": (encode(rgb.quantize(256), "PNG"), 3),
        "png alpha": (encode(rgb.convert("RGBA"), "PNG"), 4),
        "png gray alpha": (encode(gray.convert("LA"), "PNG"), 2),
        "png 16 bit": (encode(deep, "PNG"), 1),
        "bmp": (encode(rgb, "BMP"), 3),
        "webp": (encode(rgb, "WEBP", quality=95), 3),
        "webp lossless": (encode(rgb, "WEBP", lossless=True), 3),
        "tiff": (encode(rgb, "TIFF"), 3),
        "tiff lzw": (encode(rgb, "TIFF", compression="tiff_lzw"), 3),
        "tiff cmyk": (encode(rgb.convert("CMYK"), "TIFF"), 4),
        "tiff 16 bit": (encode(deep, "TIFF"), 1),
    }


def mpo(image: Image.Image, orientation: int) -> bytes:
    """A phone's JPEG with a second picture behind it."""
    return encode(
        stored(image, orientation),
        "MPO",
        quality=95,
        exif=exif(orientation),
        save_all=True,
        append_images=[image.resize((32, 32))],
    )


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment in front of all others."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def without_segments(jpeg: bytes, marker: int) -> bytes:
    """A JPEG that lost all segments of one kind before its first scan."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != marker:
            kept += jpeg[at:end]
        at = end
    return kept + jpeg[at:]


def odd_jpegs() -> dict[str, tuple[bytes, str]]:
    """JPEGs with a whole header that decoders choke on, and what the error has to say."""
    jpeg = encode(picture(), "JPEG", quality=95)
    frame = jpeg.index(b"\xff\xc0")
    scan = jpeg.index(b"\xff\xda")
    frame_end = frame + 2 + int.from_bytes(jpeg[frame + 2 : frame + 4], "big")
    return {
        "lossless": (jpeg[:frame] + b"\xff\xc3" + jpeg[frame + 2 :], "a lossless JPEG, which"),
        "differential": (
            jpeg[:frame] + b"\xff\xc5" + jpeg[frame + 2 :],
            "a hierarchical JPEG, which",
        ),
        "12 bits": (jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :], "a 12-bit JPEG, which"),
        "two frames": (
            jpeg[:frame_end] + jpeg[frame:frame_end] + jpeg[frame_end:],
            "corrupt: two frames",
        ),
        "no quantization tables": (without_segments(jpeg, 0xDB), "a quantization table is missing"),
        "scan of an unknown component": (
            jpeg[: scan + 5] + b"\x77" + jpeg[scan + 6 :],
            "a scan of unknown components",
        ),
    }


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims to be enormous."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def tiff_with_tile(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels whose one tile decodes to ``side`` squared."""
    tile = zlib.compress(bytes(1_000))
    tags = [
        (256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (277, 3, 1, 1), (322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 134),
        (325, 4, 1, len(tile)),
    ]  # fmt: skip
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    return head + body + tile


def bad_photos() -> dict[str, tuple[bytes, str]]:
    """Name to bytes and what the error has to say, of everything that must be refused."""
    rgb = picture()
    jpeg, png = encode(rgb, "JPEG"), encode(rgb, "PNG")
    noise = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    return {
        "empty": (b"\0", "empty"),
        "one byte": (b"a", "no known photo format"),
        "text": (b"these are words, not pixels", "not a photo but text"),
        "noise": (noise, "no known photo format"),
        "gif": (encode(rgb.quantize(16), "GIF"), "not a photo but a GIF"),
        "pdf": (encode(rgb, "PDF"), "not a photo but a PDF"),
        "jpeg cut in half": (jpeg[: len(jpeg) // 2], "truncated JPEG: no end-of-image marker"),
        "jpeg cut in its header": (jpeg[:200], "truncated or corrupt"),
        "jpeg of two bytes": (jpeg[:2], "broken header"),
        "png cut in half": (png[: len(png) // 2], "truncated or corrupt"),
        "png with a flipped byte": (bytes(broken), "truncated or corrupt"),
        "webp cut in half": (encode(rgb, "WEBP")[:300], "truncated or corrupt"),
        "bmp cut in half": (encode(rgb, "BMP")[:30000], "truncated or corrupt"),
        "tiff cut in half": (encode(rgb, "TIFF")[:30000], "truncated or corrupt"),
        "bomb": (png_claiming(50_000, 50_000), "the limit is 67,108,864"),
        "bomb below Pillow's own limit": (png_claiming(9_000, 9_000), "the limit is 67,108,864"),
        "too long a side": (png_claiming(40_000, 10), "longest side may be 32,767"),
        "tiff with an enormous tile": (tiff_with_tile(32_000), "the limit is 67,108,864"),
        **{f"jpeg {name}": odd for name, odd in odd_jpegs().items()},
    }


def damaged_jpeg(size_wh: tuple[int, int]) -> bytes:
    """A JPEG whose header and end are sound, and which no decoder gets through, as of a bad disk.

    The damage holds a marker that begins a second frame.
    """
    data = bytearray(encode(picture(size_wh), "JPEG"))
    middle = len(data) // 2
    data[middle : middle + 19] = (
        b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    )
    return bytes(data)
