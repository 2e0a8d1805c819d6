"""Ends that are missing, trailers, and the kinds of JPEG that are refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from facekit.errors import PhotoError
from facekit.photos import jpeg as jpeg_module
from facekit.photos.check import check_photo
from facekit.photos.formats import explain_unread_jpeg
from facekit.photos.jpeg import read_structure
from facekit.photos.jpeg_coding import JpegCoding, OddJpegError
from tests import photo_files
from tests.photos.jpeg_damage import samsung_trailer, sound_jpegs, split
from tests.photos.metadata_files import GARBAGE, jpeg_with_exif

END = b"\xff\xd9"
SOUND = [*sound_jpegs(progressive=False), *sound_jpegs(progressive=True)]
WHOLE = photo_files.encode(photo_files.picture(), "JPEG", quality=90)


def pixels(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


TRAILERS = {
    "nothing": b"",
    "padding": bytes(5000),
    "much padding": bytes(200_000),
    "Samsung's": samsung_trailer(bytes(300)),
    "Samsung's with an end marker": samsung_trailer(b"note" + END + b"note"),
    "Samsung's with a thumbnail": samsung_trailer(WHOLE),
    "Samsung's between padding": bytes(100_000) + samsung_trailer(b"note") + bytes(100_000),
    "Samsung's of an unknown form": bytes(200) + b"SEFHe\0\0\0SEFT",
    "unknown with an end marker": b"\0\1words" + END + b"words",
}


@pytest.mark.parametrize("jpeg", SOUND, ids=lambda jpeg: f"{len(jpeg)} bytes")
def test_missing_end_marker_is_supplied(jpeg: bytes) -> None:
    checked = check_photo(jpeg[:-2])
    assert bytes(checked.data) == jpeg


@pytest.mark.parametrize("jpeg", SOUND, ids=lambda jpeg: f"{len(jpeg)} bytes")
def test_missing_picture_data_are_not_supplied(jpeg: bytes) -> None:
    for missing in (1, 2, 3, 5, 30, 200):
        with pytest.raises(PhotoError, match="^truncated JPEG: no end-of-image marker"):
            check_photo(jpeg[: -2 - missing])


@pytest.mark.parametrize("name", TRAILERS)
@pytest.mark.parametrize("progressive", [False, True])
def test_trailer_in_place_of_the_end_marker(name: str, progressive: bool) -> None:
    jpeg = photo_files.encode(photo_files.picture(), "JPEG", quality=90, progressive=progressive)
    checked = check_photo(jpeg[:-2] + TRAILERS[name])
    np.testing.assert_array_equal(pixels(bytes(checked.data)), pixels(jpeg))
    for kept in (len(jpeg) // 3, len(jpeg) // 2, len(jpeg) - 100):
        with pytest.raises(PhotoError, match="truncated"):
            check_photo(jpeg[:kept] + TRAILERS[name])


@pytest.mark.parametrize("name", TRAILERS)
def test_trailer_behind_the_end_marker(name: str) -> None:
    checked = check_photo(WHOLE + TRAILERS[name])
    assert bytes(checked.data) == WHOLE + TRAILERS[name]


@pytest.mark.parametrize("progressive", [False, True])
def test_end_marker_behind_too_few_restart_markers(progressive: bool) -> None:
    jpeg = photo_files.encode(
        photo_files.picture(), "JPEG", restart_marker_rows=1, progressive=progressive
    )
    with pytest.raises(PhotoError, match="truncated JPEG: its data end before the picture"):
        check_photo(jpeg[: jpeg.rindex(b"\xff\xd1")] + END)
    # One that is lost in the middle leaves the rest of the picture.
    lost = jpeg.rindex(b"\xff\xd1")
    checked = check_photo(jpeg[:lost] + jpeg[lost + 2 :])
    assert bytes(checked.data[:2]) == b"P6"


def test_missing_end_marker_is_supplied_whatever_the_metadata_and_the_size_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Image.open refuses twice as many
    for body in GARBAGE.values():
        jpeg = jpeg_with_exif(WHOLE, body)
        hidden = jpeg.replace(b"Exif", b"none")
        assert bytes(check_photo(jpeg[:-2]).data) == hidden


def test_missing_end_marker_of_a_cmyk_jpeg_is_not_supplied() -> None:
    jpeg = photo_files.encode(photo_files.picture().convert("CMYK"), "JPEG")
    assert check_photo(jpeg).size_hwc[2] == 4
    with pytest.raises(PhotoError, match="^truncated or corrupt.*image file is truncated"):
        check_photo(jpeg[:-2])


def test_exif_is_hidden_in_a_copy() -> None:
    jpeg = photo_files.oriented_jpeg(photo_files.picture(), 6)
    for ending in (jpeg, jpeg[:-2]):
        array = np.frombuffer(ending, np.uint8).copy()
        for data in (ending, array):
            assert b"Exif" not in bytes(check_photo(data).data)
            assert b"Exif" in bytes(data)
            assert bytes(array) == ending


def test_end_marker_of_a_thumbnail_is_not_the_pictures() -> None:
    thumbnail = b"Exif\0\0" + WHOLE[:600] + END
    with pytest.raises(PhotoError, match="truncated JPEG"):
        check_photo(photo_files.with_segment(WHOLE, 0xE1, thumbnail)[: -len(WHOLE) // 3])


def test_progressive_jpeg_without_its_last_scans() -> None:
    pieces = split(photo_files.encode(photo_files.picture(), "JPEG", progressive=True))
    unfinished = b"".join(pieces[:-4])
    with pytest.raises(PhotoError, match="truncated JPEG: no end-of-image marker"):
        check_photo(unfinished)
    # With an end marker it is a coarse picture, which is all that its author wrote.
    assert bytes(check_photo(unfinished + END).data) == unfinished + END


@pytest.mark.parametrize(
    "more",
    [WHOLE, bytes(200_000) + WHOLE, b"\0\0\0\x18ftypmp42" + bytes(9000), bytes(9000)],
    ids=["picture", "picture behind padding", "film", "padding"],
)
def test_pictures_and_films_behind_a_jpeg_cost_no_decode(
    more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg_module, "has_all_data", None)
    assert bytes(check_photo(WHOLE + more).data) == WHOLE + more


def flat_jpeg(scans: tuple[bytes, ...]) -> bytes:
    """A gray picture of 16 x 16 pixels in three components, in the scans that are asked for."""
    frame = struct.pack(">BHHB", 8, 16, 16, 3) + b"".join(bytes([k, 0x11, 0]) for k in (1, 2, 3))
    tables = b"".join(bytes([kind, 1, *[0] * 15, 0]) for kind in (0x00, 0x10))
    data = b""
    for scan in scans:
        names = b"".join(bytes([name, 0]) for name in scan)
        # Four blocks a component, each of two codes of one bit, zero.
        data += segment(0xDA, bytes([len(scan)]) + names + b"\0\x3f\0") + bytes(len(scan))
    return (
        b"\xff\xd8" + segment(0xDB, bytes([0]) + b"\1" * 64) + segment(0xC0, frame)
        + segment(0xC4, tables) + data + END
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scans", "passes"),
    [
        ((b"\1\2\3",), True),
        ((b"\1", b"\2", b"\3"), True),
        ((b"\1", b"\2\3"), True),
        ((b"\1", b"\2"), False),
        ((b"\1", b"\2", b"\2", b"\3"), False),
    ],
)
def test_scans_of_a_baseline_jpeg(scans: tuple[bytes, ...], passes: bool) -> None:
    jpeg = flat_jpeg(scans)
    checked = check_photo(jpeg)
    assert (bytes(checked.data) == jpeg) == passes
    # What is odd is decoded here; either way there is the picture.
    assert np.abs(pixels(bytes(checked.data)).astype(int) - 128).max() <= 1


def test_scan_whose_components_are_out_of_order_is_refused() -> None:
    with pytest.raises(PhotoError, match="a scan of unknown components"):
        check_photo(flat_jpeg((b"\2\1\3",)))


def test_second_scan_of_all_components_is_left_out() -> None:
    assert bytes(check_photo(flat_jpeg((b"\1\2\3", b"\1\2\3"))).data) == flat_jpeg((b"\1\2\3",))


@pytest.mark.parametrize(
    ("marker", "body", "message"),
    [
        (0xDD, b"\0\0\0", "restart interval"),
        (0xC4, b"\0" + bytes([0] * 15 + [255]) + bytes(255) + b"\x10", "Huffman"),
        (0xC4, b"\0" + bytes([0] * 14 + [255, 2]) + bytes(257), "Huffman"),
        (0xC4, b"\0\3" + bytes(15) + bytes(3), "Huffman"),
        (0xDB, b"\x04" + bytes(64), "quantization"),
    ],
)
def test_segment_that_libjpeg_refuses_is_odd(marker: int, body: bytes, message: str) -> None:
    with pytest.raises(OddJpegError, match=message):
        JpegCoding().read(marker, body)


@pytest.mark.parametrize(("symbol", "odd"), [(11, False), (15, True)])
def test_averages_that_may_overflow_are_odd(symbol: int, odd: bool) -> None:
    coding = JpegCoding()
    coding.read(0xDB, bytes(65))
    coding.read(0xC4, bytes([0, 1, *[0] * 15, symbol]))
    coding.read(0xC2, struct.pack(">BHHB", 8, 2400, 2400, 1) + b"\1\x11\0")
    if odd:
        with pytest.raises(OddJpegError, match="overflow"):
            coding.read_scan(b"\1\1\0\0\0\0")
    else:
        assert coding.read_scan(b"\1\1\0\0\0\0") == 0


FRAME = WHOLE.index(b"\xff\xc0")


def with_frame(marker: int = 0xC0, precision: int = 8, height: int = 120) -> bytes:
    frame = struct.pack(">BBHBH", 0xFF, marker, 17, precision, height)
    return WHOLE[:FRAME] + frame + WHOLE[FRAME + len(frame) :]


@pytest.mark.parametrize(
    ("jpeg", "kind"),
    [
        (with_frame(precision=12), "a 12-bit JPEG"),
        (with_frame(0xC3, precision=16), "a lossless JPEG"),
        (with_frame(0xC5), "a hierarchical JPEG"),
        (photo_files.with_segment(WHOLE, 0xDE, bytes(15)), "a hierarchical JPEG"),
        (with_frame(0xCB), "a lossless arithmetic-coded JPEG"),
        (with_frame(0xF7), "a JPEG-LS picture"),
        (
            with_frame(height=0)[:-2] + segment(0xDC, b"\0\x78") + END,
            "a JPEG whose height is only given by a DNL marker",
        ),
    ],
)
def test_kind_that_is_not_read_is_named(jpeg: bytes, kind: str) -> None:
    expected = f"^{kind}, which can't be decoded: convert it to an 8-bit baseline or progressive"
    with pytest.raises(PhotoError, match=expected):
        check_photo(jpeg)


def test_arithmetic_coding_is_named_where_pillow_lacks_it() -> None:
    assert explain_unread_jpeg(with_frame(0xC9)).startswith("an arithmetic-coded JPEG, which")


def test_lossless_jpeg_is_decoded_or_named() -> None:
    frame = struct.pack(">BHHB", 8, 16, 32, 1) + b"\1\x11\0"
    table = bytes([0, 1, *[0] * 15, 0])
    jpeg = (
        b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, table)
        + segment(0xDA, b"\1\1\0\1\0\0") + bytes(16 * 32 // 8) + END
    )  # fmt: skip
    try:
        checked = check_photo(jpeg)
    except PhotoError as error:  # libjpeg-turbo before 3.0
        assert "a lossless JPEG, which can't be decoded" in str(error)
    else:
        assert (pixels(bytes(checked.data)) == 128).all()


def test_structure_says_where_the_parts_are() -> None:
    structure = read_structure(WHOLE + b"more")
    assert (structure.end, structure.has_end) == (len(WHOLE), True)
    assert WHOLE[structure.scan_start - 14 : structure.scan_start - 12] == b"\xff\xda"


@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 100])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_marker_is_found_anywhere_in_large_picture_data(offset: int, blocks: int) -> None:
    start = read_structure(WHOLE).scan_start
    at = blocks * jpeg_module._LEAP + offset
    data = bytearray(b"\xff\0\0" * (jpeg_module._LEAP * 4 // 3))
    data[at - 1 : at + 3] = b"\0\xff\xc4\0"
    structure = read_structure(WHOLE[:start] + b"ab" + bytes(data))
    assert (structure.end, structure.has_end) == (start + 2 + at, False)
    data[at : at + 2] = END
    structure = read_structure(WHOLE[:start] + bytes(data))
    assert (structure.end, structure.has_end) == (start + at + 2, True)
