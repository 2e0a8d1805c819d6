"""Frames of tiles and of turned photos, held against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facekit.photos.frames import network_frames, points_turned_back, turned_back, turned_size
from tests.photo_files import picture

GRAY = np.asarray(picture((1100, 700)).convert("L"))
WHOLE = np.array([[0.0, 0, 1100, 700]])


def weights(start: float, side: float, pixels: int, across: int) -> np.ndarray:
    """Linear weights, wide enough to take in all pixels: (pixels, across)."""
    step = side / pixels
    reach = max(step, 1.0)
    center = start + (np.arange(pixels) + 0.5) * step
    distance = np.abs(np.arange(across) + 0.5 - center[:, None]) / reach
    triangle = np.maximum(1 - distance, 0)
    return triangle / triangle.sum(axis=1, keepdims=True)


def reference(gray: np.ndarray, window: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = window
    down = weights(y1, y2 - y1, 416, gray.shape[0])
    across = weights(x1, x2 - x1, 736, gray.shape[1])
    return down @ gray.astype(np.float64) @ across.T / 255


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_the_linear_antialiased_parts_of_the_turned_photo(rotation: int) -> None:
    turned = np.rot90(GRAY, rotation // 90)
    width, height = turned_size((1100, 700), rotation)
    assert turned.shape == (height, width)
    windows = np.array([[0, 0, width, height], [50, 20, 250, 160], [width - 400, 300, width, 640]])
    frames = network_frames(GRAY, windows, (1100, 700), rotation)
    assert frames.shape == (3, 3, 416, 736)
    assert frames.dtype == np.float32
    for frame, window in zip(frames, windows, strict=True):
        assert (frame == frame[0]).all()
        # Pillow rounds to whole levels after each axis.
        np.testing.assert_allclose(frame[0], reference(turned, window), atol=1.51 / 255)


def test_colors_and_smaller_pictures_give_the_same_parts() -> None:
    colors = np.asarray(picture((1100, 700)))
    window = np.array([[100.0, 100, 836, 516]])
    (frame,) = network_frames(colors, window, (1100, 700))
    np.testing.assert_array_equal(frame.transpose(1, 2, 0) * 255, colors[100:516, 100:836])
    half = np.asarray(Image.fromarray(GRAY).reduce(2))
    one, other = (network_frames(p, WHOLE, (1100, 700)) for p in (GRAY, half))
    np.testing.assert_allclose(one, other, atol=0.05)


def test_a_photo_of_one_column_fills_a_frame() -> None:
    strip = np.full((30_000, 1), 255, np.uint8)
    windows = np.array([[0.0, 0, 1, 700], [0, 29_300, 1, 30_000]])
    assert (network_frames(strip, windows, (1, 30_000)) == 1).all()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_boxes_and_points_come_back_to_where_the_pixels_are(rotation: int) -> None:
    pixels = np.zeros((30, 40), np.uint8)
    pixels[5:12, 8:20] = 255
    rows, columns = np.nonzero(np.rot90(pixels, rotation // 90))
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    assert turned_back(box, (40, 30), rotation).tolist() == [[8, 5, 20, 12]]
    center = box.reshape(1, 2, 2).mean(axis=1, keepdims=True)
    assert points_turned_back(center, (40, 30), rotation).tolist() == [[[14, 8.5]]]
