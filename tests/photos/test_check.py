"""What is a photo and what is not, told from its bytes."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.check import check_photo
from tests import photo_files

GOOD, BAD = photo_files.good_photos(), photo_files.bad_photos()


@pytest.mark.parametrize("name", GOOD)
def test_check_good_photo_keeps_size_and_picture(name: str) -> None:
    data, channels = GOOD[name]
    checked = check_photo(data)
    width, height = photo_files.SIZE_WH
    assert checked.size_hwc == (height, width, channels)
    assert checked.orientation == 1
    pixels = np.asarray(Image.open(io.BytesIO(bytes(checked.data))).convert("L"), float)
    assert np.abs(pixels - np.asarray(photo_files.picture().convert("L"), float)).mean() < 3


@pytest.mark.parametrize("name", BAD)
def test_check_bad_photo_says_what_is_wrong(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(PhotoError, match=message):
        check_photo(data)


def test_check_too_many_bytes() -> None:
    with pytest.raises(PhotoError, match=f"{limits.MAX_PHOTO_BYTES + 1:,} bytes; the limit is"):
        check_photo(bytes(limits.MAX_PHOTO_BYTES + 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_check_jpeg_hands_on_orientation_and_hides_exif(orientation: int) -> None:
    checked = check_photo(photo_files.oriented_jpeg(photo_files.picture(), orientation))
    assert checked.orientation == orientation
    assert checked.size_hwc == (120, 200, 3)
    handed_on = Image.open(io.BytesIO(bytes(checked.data)))
    assert handed_on.getexif().get(0x0112, 1) == 1
    assert handed_on.size == ((200, 120) if orientation < 5 else (120, 200))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_check_phone_jpeg_with_a_second_picture_is_turned_once(orientation: int) -> None:
    checked = check_photo(photo_files.mpo(photo_files.picture(), orientation))
    assert (checked.orientation, checked.size_hwc) == (orientation, (120, 200, 3))
    assert Image.open(io.BytesIO(bytes(checked.data))).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    "segments",
    [
        [(0xFE, b"a comment with Exif\0\0 inside")],
        [(0xE1, b"Exif\0\0" + photo_files.exif(6).tobytes()[6:])],
    ],
    ids=["comment", "twice"],
)
def test_check_hides_every_exif_block(segments: list[tuple[int, bytes]]) -> None:
    data = photo_files.oriented_jpeg(photo_files.picture(), 6)
    for marker, body in segments:
        data = photo_files.with_segment(data, marker, body)
    checked = check_photo(data)
    assert checked.orientation == 6
    assert Image.open(io.BytesIO(bytes(checked.data))).getexif().get(0x0112, 1) == 1


def test_check_pixels_of_the_request_are_counted_before_decoding() -> None:
    with pytest.raises(PhotoError, match="send the photos in several requests"):
        check_photo(GOOD["png"][0], pixels_before=1, max_pixels=200 * 120)
    assert check_photo(GOOD["png"][0], pixels_before=1, max_pixels=200 * 120 + 1)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_check_unknown_orientation_is_upright(orientation: int) -> None:
    tags = photo_files.exif(orientation)
    data = photo_files.encode(photo_files.picture(), "JPEG", exif=tags)
    assert check_photo(data).orientation == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_check_png_is_turned_upright(mode: str, orientation: int) -> None:
    upright = photo_files.picture()
    image = photo_files.stored(upright, orientation).convert(mode)
    data = photo_files.encode(image, "PNG", exif=photo_files.exif(orientation))
    checked = check_photo(data)
    assert checked.size_hwc[:2] == (120, 200)
    pixels = np.asarray(Image.open(io.BytesIO(bytes(checked.data))).convert("L"), float)
    reference = np.asarray(
        ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L"), float
    )
    assert np.abs(pixels - reference).mean() < 1


def test_check_16_bits_are_scaled_not_clipped() -> None:
    ramp = Image.fromarray(np.linspace(0, 65535, 256 * 8).astype(np.uint16).reshape(8, 256))
    checked = check_photo(photo_files.encode(ramp, "PNG"))
    pixels = np.asarray(Image.open(io.BytesIO(bytes(checked.data))))
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert abs(float(pixels.mean()) - 127.5) < 1


def test_check_transparent_pixels_are_white() -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    checked = check_photo(photo_files.encode(image, "PNG"))
    assert np.asarray(Image.open(io.BytesIO(bytes(checked.data)))).min() == 255


@pytest.mark.parametrize(("mode", "name"), [("F", "floating-point"), ("I", "signed")])
def test_check_pixels_that_are_no_photo_are_refused(mode: str, name: str) -> None:
    image = Image.fromarray(np.full((8, 8), -70000, np.float32 if mode == "F" else np.int32))
    with pytest.raises(PhotoError, match=f"TIFF with {name} samples is not read"):
        check_photo(photo_files.encode(image, "TIFF"))


def test_check_every_cut_of_a_jpeg_is_refused_or_whole() -> None:
    data = GOOD["jpeg"][0]
    for length in range(1, len(data) - 1, 37):
        with pytest.raises(PhotoError):
            check_photo(data[:length])


def jpeg_claiming(width: int, height: int, **options: object) -> bytes:
    """A small JPEG whose frame header claims another size."""
    data = bytearray(photo_files.encode(photo_files.picture(), "JPEG", **options))
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("size_wh", [(9248, 6936), (12032, 9024), (16320, 12240)])
def test_check_jpegs_of_phones_are_within_the_limits(size_wh: tuple[int, int]) -> None:
    assert check_photo(jpeg_claiming(*size_wh)).size_hwc == (*size_wh[::-1], 3)


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        (jpeg_claiming(16320, 12260), "the limit is 200,000,000$"),
        (
            jpeg_claiming(16320, 12240, progressive=True),
            "the limit is 110,000,000 for a progressive JPEG, 200,000,000 for a baseline one",
        ),
        (photo_files.png_claiming(12032, 9024), "the limit is 67,108,864, 200,000,000 for a JPEG"),
    ],
    ids=["jpeg", "progressive", "png"],
)
def test_check_each_kind_has_its_limit(data: bytes, limit: str) -> None:
    with pytest.raises(PhotoError, match=limit):
        check_photo(data)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("length", [20, 33])
def test_check_cut_header_is_told_by_its_kind(kind: str, length: int) -> None:
    data = photo_files.encode(photo_files.picture(), kind)[:length]
    with pytest.raises(PhotoError, match=f"(?i){kind}.*truncated|truncated or corrupt {kind}"):
        check_photo(data)
