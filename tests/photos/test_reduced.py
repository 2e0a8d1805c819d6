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
    reduce_for_network,
    reduction_for_faces,
    reduction_for_network,
)
from tests.photo_files import encode, oriented_jpeg, picture


def checked(size_wh: tuple[int, int], orientation: int = 1) -> CheckedPhoto:
    return check_photo(oriented_jpeg(picture(size_wh), orientation))


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
    blank = CheckedPhoto(np.frombuffer(b"\xff\xd8", np.uint8), 1, (size_wh[1], size_wh[0], 3))
    assert reduction_for_network(blank) == scale
    least = min(size_wh[0] / 736, size_wh[1] / 416) / scale
    assert scale == 1 or least >= OVERSAMPLING


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_reduced_picture_is_the_stored_one_shrunk(orientation: int, color: str) -> None:
    size_wh = (2002, 1405)
    photo = checked(size_wh, orientation)
    reduced = decode_reduced(photo, 2, color)
    stored_wh = size_wh if orientation < 5 else size_wh[::-1]
    # 1405 is not even: the last half pixel is kept, never more.
    assert reduced.size == tuple(-(-side // 2) for side in stored_wh)
    assert reduced.mode == ("L" if color == "gray" else "RGB")
    turned = Image.open(io.BytesIO(photo.data.tobytes())).convert(reduced.mode)
    expected = turned.resize(reduced.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(reduced, float) - np.asarray(expected, float))
    assert difference.mean() < 1


def test_reduced_picture_leaves_out_less_than_half_a_pixel() -> None:
    # A quarter of 4001 is 1000.25: the decoder gives 1001 columns, the last with a quarter of one.
    assert decode_reduced(checked((4001, 3003)), 4, "gray").size == (1000, 751)


def test_reduce_hands_on_what_is_small_or_no_jpeg() -> None:
    small = checked((640, 480))
    assert reduce_for_network(small, "gray") is small.data
    png = check_photo(encode(picture((2400, 1600)), "PNG"))
    assert reduce_for_network(png, "gray") is png.data


def test_smallest_face_decides_how_far_a_photo_is_reduced() -> None:
    photo = checked((4032, 3024))
    large, small, tiny = [0, 0, 900, 1000], [0, 0, 210, 150], [0, 0, 90, 99]
    assert reduction_for_faces(photo, np.array([large])) == 8
    assert reduction_for_faces(photo, np.array([large, small])) == 2
    assert reduction_for_faces(photo, np.array([large, small, tiny])) == 1
    assert reduction_for_faces(photo, np.empty((0, 4))) == 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_point_of_an_odd_sized_photo_stays_in_its_place(orientation: int) -> None:
    # A white bar, whose middle is looked for in the reduced picture.
    pixels = np.zeros((2403, 4003, 3), np.uint8)
    pixels[1000:1040, 2180:2220] = 255
    photo = check_photo(oriented_jpeg(Image.fromarray(pixels), orientation))
    scale = reduction_for_network(photo)
    assert scale == (2 if orientation == 1 else 1)
    if scale > 1:
        reduced = np.asarray(decode_reduced(photo, scale, "gray"), float)
        rows, columns = np.nonzero(reduced > 128)
        assert abs((columns.mean() + 0.5) * scale - 2200) < 1
        assert abs((rows.mean() + 0.5) * scale - 1020) < 1


@pytest.mark.parametrize("size_wh", [(3, 3), (7, 7), (4000, 6), (1, 4000)])
@pytest.mark.parametrize("boxes", [[], [[0, 0, 4000, 4000]]])
def test_thin_photo_is_reduced_no_further_than_to_a_pixel(
    size_wh: tuple[int, int], boxes: list[list[int]]
) -> None:
    photo = checked(size_wh)
    scale = reduction_for_faces(photo, np.array(boxes, float).reshape(-1, 4))
    assert min(size_wh) // scale >= 1
    assert scale == 1 or min(decode_reduced(photo, scale, "gray").size) >= 1


def test_png_without_a_face_is_decoded_whole() -> None:
    png = check_photo(encode(picture((2400, 1600)), "PNG"))
    assert reduction_for_faces(png, np.empty((0, 4))) == 1


def test_damaged_pixels_are_that_photo_s_error() -> None:
    photo = checked((4000, 3000))
    cut = photo.data[: len(photo.data) // 2]
    with pytest.raises(PhotoError, match="truncated or corrupt JPEG"):
        reduce_for_network(CheckedPhoto(cut, 1, photo.size_hwc), "gray")


@pytest.mark.parametrize("error", [OSError, SyntaxError, ValueError, struct.error])
def test_whatever_pillow_raises_is_that_photo_s_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(image: JpegImageFile) -> None:
        raise error("odd")

    photo = checked((4000, 3000))
    monkeypatch.setattr(JpegImageFile, "load", load)
    with pytest.raises(PhotoError, match="truncated or corrupt JPEG: odd"):
        reduce_for_network(photo, "gray")


def test_reduction_has_no_limit_of_pixels_of_pillow_s(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = checked((4000, 3000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert bytes(reduce_for_network(photo, "gray")).startswith(b"P5\n2000 1500\n")
