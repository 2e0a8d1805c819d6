"""Metadata of any kind and state leaves a photo's size and pixels as they are."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.draw import open_upright
from facekit.labels.photo_labels import stored_view
from facekit.photos.check import check_photo, decode_checked
from facekit.photos.header import read_orientation, read_photo_header
from tests.photo_files import encode, exif, good_photos, picture, stored, with_segment
from tests.photos import metadata_files as meta
from tests.photos.kinds import bmp
from tests.photos.tiff_files import RGB, Tiff, tiff

SIZE_WH = (48, 64)
UPRIGHT = picture(SIZE_WH)
_NAMED = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0\1\1", b"MPF\0",
          b"Photoshop 3.0\x008BIM", b"JFIF\0", b"JFXX\0", b"II*\0", b"MM\0*\0\0\0\x08",
          b"")  # fmt: skip


def noise(rng: np.random.Generator) -> bytes:
    """Random bytes, mostly behind a name that makes readers look into them."""
    return _NAMED[rng.integers(len(_NAMED))] + rng.bytes(int(rng.integers(0, 80)))


def noisy_jpeg(rng: np.random.Generator, base: bytes) -> bytes:
    # Not APP14: Adobe's tells how colors are stored.
    marker = int(rng.choice([0xFE, *(0xE0 + k for k in range(16) if k != 14)]))
    return with_segment(base, marker, noise(rng))


def noisy_png(rng: np.random.Generator, base: bytes) -> bytes:
    names = (b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"pHYs",
             b"tIME", b"sBIT", b"bKGD", b"hIST", b"acTL", b"fcTL", b"fdAT", b"juNk")  # fmt: skip
    keyword = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"")[rng.integers(3)]
    checksum = None if rng.random() < 0.7 else int(rng.integers(1 << 32))
    chunk = meta.png_chunk(names[rng.integers(len(names))], keyword + noise(rng), checksum)
    return meta.with_chunk(base, chunk, at=meta.PNG_HEAD if rng.random() < 0.7 else len(base) - 12)


def noisy_webp(rng: np.random.Generator, base: bytes) -> bytes:
    name = (b"EXIF", b"XMP ", b"ICCP", b"junk")[rng.integers(4)]
    return meta.with_webp_chunks(base, (name, noise(rng)), size_wh=SIZE_WH)


def noisy_tiff(rng: np.random.Generator, base: bytes) -> bytes:
    page = Tiff(np.asarray(UPRIGHT), 8, RGB, compression="LZW")
    for tag in rng.choice([270, 271, 282, 305, 306, 700, 33432, 33723, 34377, 34665, 34675, 34853,
                           37500, 50341, 65000], 3, replace=False):  # fmt: skip
        page.fields[int(tag)] = noise(rng) or b"\0"
    return tiff(page)


def noisy_bmp(rng: np.random.Generator, base: bytes) -> bytes:
    """A gap between header and pixels, and the fields that no decoder needs."""
    pixels = np.dstack([np.asarray(UPRIGHT)[..., ::-1], np.full(SIZE_WH[::-1], 255, np.uint8)])
    data = bytearray(bmp(pixels, masks=False, top_down=False))
    gap = rng.bytes(int(rng.integers(0, 40)))
    data[10:14] = struct.pack("<I", 54 + len(gap))
    data[6:10], data[38:46] = rng.bytes(4), rng.bytes(8)
    return bytes(data[:54]) + gap + bytes(data[54:])


KINDS: dict[str, tuple[bytes, Callable[[np.random.Generator, bytes], bytes]]] = {
    "jpeg": (encode(UPRIGHT, "JPEG"), noisy_jpeg),
    "cmyk jpeg": (encode(UPRIGHT.convert("CMYK"), "JPEG"), noisy_jpeg),
    "png": (encode(UPRIGHT, "PNG"), noisy_png),
    "webp": (encode(UPRIGHT, "WEBP", lossless=True), noisy_webp),
    "tiff": (encode(UPRIGHT, "TIFF"), noisy_tiff),
    "bmp": (encode(UPRIGHT, "BMP"), noisy_bmp),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_bytes_in_ancillary_blocks_change_nothing(kind: str) -> None:
    base, noisy = KINDS[kind]
    expected = np.asarray(decode_checked(check_photo(base)))
    rng = np.random.default_rng(2)
    for _ in range(150):
        data = noisy(rng, base)
        checked = check_photo(data)
        assert checked.orientation == 1
        np.testing.assert_array_equal(np.asarray(decode_checked(checked)), expected)


def test_orientation_never_raises() -> None:
    rng = np.random.default_rng(3)
    for data, _ in good_photos().values():
        for _ in range(40):
            damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
            for place in rng.integers(0, min(len(damaged), 300), 8):
                damaged[place] = rng.integers(256)
            assert read_orientation(io.BytesIO(bytes(damaged))) in range(1, 9)


def test_tiff_of_directories_in_a_circle_ends() -> None:
    page = bytearray(encode(UPRIGHT, "TIFF"))
    start = struct.unpack_from("<I", page, 4)[0]
    count = struct.unpack_from("<H", page, start)[0]
    struct.pack_into("<I", page, start + 2 + 12 * count, start)
    assert check_photo(bytes(page)).size_hwc == (64, 48, 3)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("kind", [1, 3, 4, 9])
def test_orientation_of_every_number_type(order: str, kind: int) -> None:
    letter = {1: "B", 3: "H", 4: "I", 9: "i"}[kind]
    end = "<" if order == "II" else ">"
    value = struct.pack(f"{end}{letter}", 6).ljust(4, b"\0")
    body = struct.pack(f"{end}2sHIHHHI", order.encode(), 42, 8, 1, 0x0112, kind, 1) + value
    data = meta.jpeg_with_exif(encode(UPRIGHT, "JPEG"), body)
    assert read_orientation(io.BytesIO(data)) == 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_orientation_is_upright_whatever_xmp_says(value: int) -> None:
    data = encode(UPRIGHT, "PNG", exif=exif(value))
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + meta.XMP % 6
    data = meta.with_chunk(data, meta.png_chunk(b"iTXt", xmp))
    assert read_orientation(io.BytesIO(data)) == 1


def test_packed_text_is_unpacked_to_a_bound() -> None:
    import zlib

    bomb = zlib.compress(bytes(50_000_000))
    chunk = meta.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    assert check_photo(meta.with_chunk(encode(UPRIGHT, "PNG"), chunk)).size_hwc == (64, 48, 3)


def test_exif_as_text_of_older_programs() -> None:
    digits = (b"Exif\0\0" + meta.exif_body(8)).hex().encode()
    text = b"Raw profile type exif\0\nexif\n      40\n" + digits + b"\n"
    data = meta.with_chunk(encode(stored(UPRIGHT, 8), "PNG"), meta.png_chunk(b"tEXt", text))
    assert read_orientation(io.BytesIO(data)) == 8


@pytest.mark.parametrize("turn", [1, 6, 7])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_server_drawing_and_labels_agree(tmp_path: Path, file_format: str, turn: int) -> None:
    image = stored(UPRIGHT, turn)
    path = tmp_path / "photo"
    path.write_bytes(encode(image, file_format, exif=exif(turn)))
    checked = check_photo(path.read_bytes())
    assert checked.size_hwc[:2] == SIZE_WH[::-1]
    assert stored_view(path) == (image.size, turn)
    with path.open("rb") as stream:
        assert read_photo_header(stream).upright_wh == SIZE_WH
    drawn = open_upright(path)
    assert drawn.size == SIZE_WH
    assert np.abs(np.asarray(drawn, float) - np.asarray(UPRIGHT, float)).mean() < 3
    assert isinstance(drawn, Image.Image) and drawn.mode == "RGB"


def test_photo_under_its_thumbnail_is_the_photo() -> None:
    thumbnail = Tiff(np.zeros((8, 6, 3), np.uint8), 8, RGB, fields={254: (1,), 330: (0,)})
    data = bytearray(tiff(thumbnail, Tiff(np.asarray(UPRIGHT), 8, RGB)))
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    link = start + 2 + 12 * count
    entry = next(
        at for at in range(start + 2, link, 12) if struct.unpack_from("<H", data, at)[0] == 330
    )
    data[entry + 8 : entry + 12] = data[link : link + 4]  # no page of its own any more
    data[link : link + 4] = bytes(4)
    found = decode_checked(check_photo(bytes(data)))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(UPRIGHT))
