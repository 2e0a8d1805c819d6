"""Sharpness of faces: falls with blur, not with the face's size."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from facekit.data import probe_photo
from facekit.errors import BoxError, InputError
from facekit.landmarks.sharpness import face_sharpness, sharpness_of

BOX = np.array([[130, 74, 224, 180]], np.float32)
"""The face of the built-in photo."""


def photo() -> Image.Image:
    return Image.open(io.BytesIO(probe_photo())).convert("RGB")


def sharpness(image: Image.Image, box: npt.NDArray[np.float32] = BOX) -> float:
    return float(face_sharpness(np.asarray(image), box)[0])


def test_every_blur_is_told_in_its_order() -> None:
    image = photo()
    found = [sharpness(image.filter(ImageFilter.GaussianBlur(s))) for s in (0, 0.5, 1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.3 > 0.1 > found[-1]
    assert min(np.array(found[:-1]) - found[1:]) > 0.01


def test_motion_across_counts_as_blur_too() -> None:
    image = photo()
    pixels = np.asarray(image, np.float32)
    moved = np.mean([np.roll(pixels, k, axis=1) for k in range(9)], axis=0).astype(np.uint8)
    assert sharpness(Image.fromarray(moved)) < 0.5 * sharpness(image)


def test_a_larger_face_that_shows_the_same_is_as_sharp() -> None:
    image = photo()
    large = image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC)
    assert sharpness(large, BOX * 3) == pytest.approx(sharpness(image), abs=0.03)


def test_contrast_and_brightness_change_little() -> None:
    image = photo()
    dim = Image.fromarray((np.asarray(image) * 0.4 + 50).astype(np.uint8))
    assert sharpness(dim) == pytest.approx(sharpness(image), abs=0.03)


def test_gray_pixels_do() -> None:
    gray = np.asarray(photo().convert("L"))
    assert float(face_sharpness(gray, BOX)[0]) == pytest.approx(sharpness(photo()), abs=0.005)


def test_nothing_to_see_is_0_and_no_boxes_are_no_numbers() -> None:
    assert sharpness_of(np.full((2, 1, 80, 80), 7, np.float32)).tolist() == [0, 0]
    found = face_sharpness(np.zeros((50, 50), np.uint8), np.zeros((0, 4)))
    assert found.shape == (0,) and found.dtype == np.float32


def test_wrong_pixels_and_boxes_are_refused() -> None:
    with pytest.raises(InputError, match="expected uint8"):
        face_sharpness(np.zeros((50, 50), np.float32), BOX)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected uint8"):
        face_sharpness(np.zeros((50, 50, 4), np.uint8), BOX)
    with pytest.raises(BoxError):
        face_sharpness(np.zeros((50, 50), np.uint8), [[60, 60, 90, 90]])
