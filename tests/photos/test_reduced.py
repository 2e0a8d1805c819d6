"""Large JPEGs decoded smaller: the right pixels, the right size, and never at a price in faces."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from facekit.errors import PhotoError
from facekit.photos.check import CheckedPhoto, check_photo
from facekit.photos.reduced import (
    OVERSAMPLING,
    decode_reduced,
    reduce,
    reduce_for_network,
    reduction_for_faces,
    reduction_for_network,
)
from tests.photo_files import encode, oriented_jpeg, picture


def checked(size_wh: tuple[int, int], orientation: int = 1) -> CheckedPhoto:
    return check_photo(oriented_jpeg(picture(size_wh), orientation))


def blank(size_wh: tuple[int, int], orientation: int = 1) -> CheckedPhoto:
    """Of a JPEG of this size upright; there is nothing to decode."""
    return CheckedPhoto(np.frombuffer(b"\xff\xd8", np.uint8), orientation, (*size_wh[::-1], 3))


SMALL = checked((400, 300))


@pytest.mark.parametrize(
    ("size_wh", "scale"),
    [
        ((1280, 720), 1),
        ((1920, 1080), 1),
        ((2943, 1664), 1),
        ((2944, 1664), 2),
        ((3024, 4032), 2),
        ((4032, 3024), 2),
        ((9248, 6936), 4),
    ],
)
def test_reduction_leaves_the_frame_its_pixels(size_wh: tuple[int, int], scale: int) -> None:
    assert reduction_for_network(blank(size_wh)) == scale
    least = min(size_wh[0] / 736, size_wh[1] / 416) / scale
    assert scale == 1 or least >= OVERSAMPLING


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_reduced_picture_is_the_stored_one_shrunk(orientation: int, color: str) -> None:
    size_wh = (402, 281)
    photo = checked(size_wh, orientation)
    reduced = decode_reduced(photo, 2, color)
    stored_wh = size_wh if orientation < 5 else size_wh[::-1]
    # 281 is not even: the last half pixel is kept, never more.
    assert reduced.size == tuple(-(-side // 2) for side in stored_wh)
    assert reduced.mode == ("L" if color == "gray" else "RGB")
    turned = Image.open(io.BytesIO(photo.data.tobytes())).convert(reduced.mode)
    expected = turned.resize(reduced.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(reduced, float) - np.asarray(expected, float))
    assert difference.mean() < 1


def test_reduced_picture_leaves_out_less_than_half_a_pixel() -> None:
    # A quarter of 401 is 100.25: the decoder gives 101 columns, the last with a quarter of one.
    assert decode_reduced(checked((401, 303)), 4, "gray").size == (100, 76)


def test_reduce_hands_on_what_is_small_or_no_jpeg() -> None:
    assert reduce_for_network(SMALL, "gray") is SMALL.data
    png = check_photo(encode(Image.new("L", (2944, 1664)), "PNG"))
    assert reduce_for_network(png, "gray") is png.data
    assert reduction_for_faces(png, np.empty((0, 4))) == 1


def test_smallest_face_decides_how_far_a_photo_is_reduced() -> None:
    photo = blank((4032, 3024))
    large, small, tiny = [0, 0, 900, 1000], [0, 0, 210, 150], [0, 0, 90, 99]
    assert reduction_for_faces(photo, np.array([large])) == 8
    assert reduction_for_faces(photo, np.array([large, small])) == 2
    assert reduction_for_faces(photo, np.array([large, small, tiny])) == 1
    assert reduction_for_faces(photo, np.empty((0, 4))) == 8


def test_only_an_upright_photo_of_odd_size_is_reduced() -> None:
    # In the others, turning moves the corner from which the decoder reduces.
    found = [reduction_for_network(blank((4003, 2403), turn)) for turn in range(1, 9)]
    assert found == [2, *[1] * 7]


def test_point_of_an_odd_sized_photo_stays_in_its_place() -> None:
    pixels = np.zeros((303, 503, 3), np.uint8)
    pixels[100:140, 218:258] = 255
    photo = check_photo(encode(Image.fromarray(pixels), "JPEG"))
    rows, columns = np.nonzero(np.asarray(decode_reduced(photo, 2, "gray"), float) > 128)
    assert abs((columns.mean() + 0.5) * 2 - 238) < 1 and abs((rows.mean() + 0.5) * 2 - 120) < 1


@pytest.mark.parametrize("size_wh", [(3, 3), (7, 7), (4000, 6), (1, 4000)])
@pytest.mark.parametrize("boxes", [[], [[0, 0, 4000, 4000]]])
def test_thin_photo_is_reduced_no_further_than_to_a_pixel(
    size_wh: tuple[int, int], boxes: list[list[int]]
) -> None:
    photo = checked(size_wh)
    scale = reduction_for_faces(photo, np.array(boxes, float).reshape(-1, 4))
    assert min(size_wh) // scale >= 1
    assert scale == 1 or min(decode_reduced(photo, scale, "gray").size) >= 1


def test_damaged_pixels_are_that_photo_s_error() -> None:
    cut = SMALL.data[: len(SMALL.data) // 2]
    with pytest.raises(PhotoError, match="truncated or corrupt JPEG"):
        reduce(CheckedPhoto(cut, 1, SMALL.size_hwc), 2, "gray")


@pytest.mark.parametrize("error", [OSError, SyntaxError, ValueError, struct.error])
def test_whatever_pillow_raises_is_that_photo_s_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(image: JpegImageFile) -> None:
        raise error("odd")

    monkeypatch.setattr(JpegImageFile, "load", load)
    with pytest.raises(PhotoError, match="truncated or corrupt JPEG: odd"):
        reduce(SMALL, 2, "gray")


def test_reduction_has_no_limit_of_pixels_of_pillow_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert bytes(reduce(SMALL, 2, "gray")).startswith(b"P5\n200 150\n")
