"""Face crops: square, centered, padded, antialiased; and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facekit.errors import BoxError
from facekit.landmarks.crops import crop_squares, cut_crops, to_photo
from tests.photo_files import picture

SIZE_WH = (640, 480)
GRAY = np.asarray(picture(SIZE_WH).convert("L"))


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.uniform((0, 0), SIZE_WH, (count, 2))
    halves = rng.uniform(3, 300, (count, 2))
    return np.concatenate([centers - halves, centers + halves], axis=1)


def test_squares_of_no_box_are_none() -> None:
    squares = crop_squares(np.empty((0, 4)), size_wh=SIZE_WH)
    assert squares.shape == (0, 3)
    assert cut_crops(GRAY, squares).shape == (0, 1, 80, 80)


def test_squares_are_centered_on_the_longer_side() -> None:
    boxes = random_boxes(100)
    squares = crop_squares(boxes, size_wh=SIZE_WH)
    np.testing.assert_allclose(squares[:, 2], (boxes[:, 2:] - boxes[:, :2]).max(1), rtol=1e-5)
    centers = squares[:, :2] + squares[:, 2:] / 2
    np.testing.assert_allclose(centers, (boxes[:, :2] + boxes[:, 2:]) / 2, atol=1e-3)


def test_squares_expand() -> None:
    (square,) = crop_squares([[10, 20, 50, 60]], size_wh=SIZE_WH, expand=1.5)
    np.testing.assert_allclose(square, [0, 10, 60])


@pytest.mark.parametrize("seed", range(5))
def test_crops_equal_pillow_antialiased_resize_of_a_padded_photo(seed: int) -> None:
    squares = crop_squares(random_boxes(20, seed), size_wh=SIZE_WH)
    border = 700
    padded = Image.fromarray(np.pad(GRAY, border, mode="edge").astype(np.float32))
    for crop, (x, y, side) in zip(cut_crops(GRAY, squares), squares, strict=True):
        area = (x + border, y + border, x + border + side, y + border + side)
        expected = np.asarray(padded.resize((80, 80), Image.Resampling.BILINEAR, box=area))
        # Large faces are averaged over whole blocks first: within a third of a gray level.
        np.testing.assert_allclose(crop[0], expected, atol=0.34)


@pytest.mark.parametrize("box", [(-900, -900, 1900, 1400), (600, 10, 4600, 3900), (-2e3, 0, 9, 9)])
def test_crop_of_a_box_far_beyond_the_photo_is_its_padded_whole(box: tuple[float, ...]) -> None:
    (square,) = squares = crop_squares([box], size_wh=SIZE_WH)
    border = 5000
    padded = Image.fromarray(np.pad(GRAY, border, mode="edge").astype(np.float32))
    area = (square[0] + border, square[1] + border, *(square[:2] + square[2] + border))
    expected = np.asarray(padded.resize((80, 80), Image.Resampling.BILINEAR, box=area))
    np.testing.assert_allclose(cut_crops(GRAY, squares)[0, 0], expected, atol=2)


def test_boxes_that_cover_too_much_are_refused() -> None:
    boxes = np.tile([0, 0, 8000, 8000], (8, 1))
    with pytest.raises(BoxError, match="the 8 boxes cover 512,000,000 pixels; the limit of one"):
        crop_squares(boxes, size_wh=(8000, 8000))


def test_crop_is_not_squashed_at_the_border() -> None:
    # A disc whose box leaves the photo: what is seen of it must stay round.
    y, x = np.mgrid[:200, :200]
    disc = (((x - 10) ** 2 + (y - 100) ** 2) < 40**2).astype(np.uint8) * 255
    squares = crop_squares([[-30, 60, 50, 140]], size_wh=(200, 200))
    crop = cut_crops(disc, squares)[0, 0] > 127
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    assert abs(len(rows) - 80) <= 2
    assert abs(columns[-1] - 79) <= 1


def test_to_photo_inverts_the_crop_for_any_box() -> None:
    rng = np.random.default_rng(0)
    squares = crop_squares(random_boxes(200), size_wh=SIZE_WH)
    photo_points = rng.uniform(-100, 700, (200, 68, 2)).astype(np.float32)
    crop_points = (photo_points - squares[:, None, :2]) / squares[:, None, 2:] * 80
    np.testing.assert_allclose(to_photo(crop_points, squares), photo_points, atol=1e-2)


def test_to_photo_of_the_corners() -> None:
    corners = np.array([[[0, 0], [80, 80]]])
    np.testing.assert_allclose(to_photo(corners, [[10, 20, 160]]), [[[10, 20], [170, 180]]])


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10, 10, 5, 20), r"box 1 of 1 \(10, 10, 5, 20\) is empty or inverted"),
        ((10, 10, 10, 20), "is empty or inverted"),
        ((np.nan, 0, 5, 5), "is not finite"),
        ((0, 0, np.inf, 5), "is not finite"),
        ((700, 0, 720, 20), "lies outside the photo of 640 x 480 pixels"),
        ((-20, -20, 0, 0), "lies outside the photo"),
        ((-2e9, -2e9, 2e9, 2e9), "is more than 8 times as large as the photo of 640 x 480"),
        ((-1e38, 0, 1e38, 5), "is more than 8 times as large as the photo"),
    ],
)
def test_squares_refuse_wrong_boxes(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(BoxError, match=message):
        crop_squares([box], size_wh=SIZE_WH)
