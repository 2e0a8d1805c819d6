"""Small files that would take hours, or all memory, of a reader that believes them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos import blocks, tiff_directory
from facekit.photos.check import check_photo
from facekit.photos.header import read_orientation, read_photo_header
from facekit.photos.jpeg import read_structure
from facekit.photos.jpeg_coding import OddJpegError
from facekit.sheet.tiles import broken_picture
from tests.photo_files import encode, picture
from tests.photos import metadata_files as meta
from tests.photos.tiff_files import CMYK, GRAY, RGB, Tiff, tiff

UPRIGHT = picture((48, 64))


class Counting(io.BytesIO):
    """Counts the bytes that are asked for."""

    asked = 0

    def read(self, count: int | None = -1, /) -> bytes:
        data = super().read(count)
        self.asked += len(data)
        return data


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\0"], ids=["FF", "FF00", "00"])
def test_bytes_between_segments_are_read_once(filling: bytes) -> None:
    plain = encode(UPRIGHT, "JPEG")
    data = plain[:2] + filling * 100_000 + plain[2:]
    stream = Counting(data)
    expected = [block.name for block in blocks.jpeg_segments(io.BytesIO(plain))]
    assert [block.name for block in blocks.jpeg_segments(stream)] == expected
    assert stream.asked < 1.1 * len(data) + 4096 * len(expected)
    assert check_photo(data).size_hwc == (64, 48, 3)


@pytest.mark.parametrize("length", range(4090, 4100))
def test_marker_at_the_edge_of_what_is_searched_is_found(length: int) -> None:
    plain = encode(UPRIGHT, "JPEG")
    data = plain[:2] + bytes(length) + plain[2:]
    assert read_photo_header(io.BytesIO(data)).stored_wh == (48, 64)


def test_jpeg_of_countless_segments_is_refused() -> None:
    plain = encode(UPRIGHT, "JPEG")
    scan = plain.index(b"\xff\xda")
    data = plain[:scan] + b"\xff\xfe\0\2" * (blocks.MOST_BLOCKS + 1) + plain[scan:]
    with pytest.raises(PhotoError, match="too many segments"):
        check_photo(data)


def test_restart_markers_without_end_are_not_gone_through() -> None:
    plain = encode(UPRIGHT, "JPEG")
    data = plain[:-2] + b"\xff\xd0" * 1000 + plain[-2:]
    with pytest.raises(OddJpegError, match="too many restart markers"):
        read_structure(data)
    assert check_photo(data).data[0] != 0xFF  # decoded here


def with_scans(count: int, at_start: bool) -> bytes:
    """A progressive JPEG with its first scan, or its last, some times more, each of one byte."""
    plain = encode(UPRIGHT.convert("L"), "JPEG", progressive=True)
    starts = [at for at in range(len(plain)) if plain[at : at + 2] == b"\xff\xda"]
    start = starts[0 if at_start else -1]
    end = next(at for at in range(start + 2, len(plain)) if plain[at] == 255 and plain[at + 1] != 0)
    return plain[:end] + (plain[start : start + 10] + b"\0") * count + plain[end:]


def test_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    assert check_photo(with_scans(20, at_start=True)).size_hwc == (64, 48, 1)
    with pytest.raises(PhotoError, match=f"more than {limits.MAX_SCANS} scans"):
        check_photo(with_scans(limits.MAX_SCANS, at_start=True))


def test_jpeg_of_many_scans_is_not_decoded_for_a_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_scans(20, at_start=True))
    assert broken_picture(path) is not None
    path.write_bytes(with_scans(limits.MAX_SCANS, at_start=True))
    assert broken_picture(path) is None


def test_scans_are_counted_up_to_the_end_of_the_picture() -> None:
    plain = encode(UPRIGHT, "JPEG", progressive=True)
    count = plain.count(b"\xff\xda")
    comment = b"\xff\xfe\0\x06\xff\xda\xff\xd9"
    assert blocks.count_scans(plain[:2] + comment + plain[2:] + plain) == count > 3


def test_packed_texts_of_a_png_are_unpacked_a_few_times() -> None:
    xmp = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(3000))
    profile = b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 3000)
    for name, body in ((b"iTXt", xmp), (b"zTXt", profile)):
        data = meta.with_chunk(encode(UPRIGHT, "PNG"), *[meta.png_chunk(name, body)] * 100)
        with mock.patch(
            "facekit.photos.header.zlib.decompressobj", side_effect=zlib.decompressobj
        ) as unpack:
            assert read_orientation(io.BytesIO(data)) == 1
        assert 1 <= unpack.call_count <= 4


@pytest.mark.parametrize("sides", [(9000, 9000), (48, 65), (64, 48)])
def test_png_with_two_headers_is_refused(sides: tuple[int, int]) -> None:
    header = meta.png_chunk(b"IHDR", struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0))
    with pytest.raises(PhotoError, match="different sizes"):
        check_photo(meta.with_chunk(encode(UPRIGHT, "PNG"), header))


@pytest.mark.parametrize("offset", [1 << 41, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_tiff_that_points_anywhere_is_refused(tmp_path: Path, offset: int) -> None:
    data = struct.pack("<2sHHHQ", b"II", 43, 8, 0, offset)
    with pytest.raises(PhotoError, match="truncated or corrupt"):
        check_photo(data)
    (tmp_path / "photo").write_bytes(data)
    with (tmp_path / "photo").open("rb") as stream, pytest.raises(ValueError, match="beyond"):
        read_photo_header(stream)


def test_directory_of_countless_entries_is_not_read() -> None:
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, 6) for tag in range(2000))
    head = struct.pack("<2sHIH", b"II", 42, 8, 2000)
    with pytest.raises(ValueError, match="2000 entries"):
        tiff_directory.first_directory(io.BytesIO(head + entries + bytes(4)))
    exif = meta.jpeg_with_exif(encode(UPRIGHT, "JPEG"), head + entries)
    assert check_photo(exif).orientation == 1


def test_tiles_far_larger_than_the_picture_are_refused() -> None:
    page = Tiff(np.zeros((1, 1, 4), np.uint16), 16, CMYK, compression="Deflate",
                tile_width=16, rows=16)  # fmt: skip
    page.fields = {257: (32_767,), 322: (32_767,), 323: (1,)}
    with pytest.raises(PhotoError, match=r"1,073,676,289 pixels in its tiles"):
        check_photo(tiff(page))


def test_bits_of_countless_samples_are_not_spelt_out() -> None:
    page = Tiff(np.zeros((4, 4, 1), np.uint8), 8, GRAY)
    page.fields = {258: (8, 16) * 5000, 277: (10_000,)}
    with pytest.raises(PhotoError, match="10000 samples a pixel") as caught:
        check_photo(tiff(page))
    assert len(str(caught.value)) < 200


def test_packed_tiff_is_not_held_to_the_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is of pixels, and counts bytes of packed rows: 357 MB, of 64 megapixels of 16 bits."""
    page = Tiff(np.asarray(UPRIGHT).astype(np.uint16) * 257, 16, RGB, compression="LZW")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert check_photo(tiff(page)).size_hwc == (64, 48, 3)
