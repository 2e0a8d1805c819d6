"""What is covered, what stays, and how little is left of a face."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facekit.errors import ConfigError
from facekit.privacy.cover import BLOCKS, METHODS, cover_faces

BOX = [40.0, 30.0, 104.0, 110.0]


def noise(dtype: type = np.uint8, channels: int = 3, size_wh: tuple[int, int] = (200, 160)):  # type: ignore[no-untyped-def]
    width, height = size_wh
    most = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(1, most, (height, width, channels)).astype(dtype)


def ellipse(box: list[float], margin: float, size_wh: tuple[int, int]) -> np.ndarray:
    """Distance of each pixel's center from the box's, 1 on the ellipse with the margin."""
    x, y = np.meshgrid(np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5)
    left, top, right, bottom = box
    across, down = (0.5 + margin) * (right - left), (0.5 + margin) * (bottom - top)
    return np.hypot((x - (left + right) / 2) / across, (y - (top + bottom) / 2) / down)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_ellipse_with_its_margin_changes_and_nothing_else(
    how: str, dtype: type, margin: float
) -> None:
    before = noise(dtype)
    after = before.copy()
    cover_faces(after, [BOX], how, margin)
    distance = ellipse(BOX, margin, (200, 160))
    changed = (before != after).any(axis=2)
    assert changed[distance < 1].mean() > 0.99  # a pixel of noise may equal its average
    assert not changed[distance > 1.05].any()


@pytest.mark.parametrize("how", METHODS)
def test_a_second_call_gives_the_same(how: str) -> None:
    one, other = noise(), noise()
    for each in (one, other):
        cover_faces(each, [BOX, [90, 80, 150, 150]], how)
    assert np.array_equal(one, other)


def test_blocks_are_no_smaller_than_a_fifth_of_the_face() -> None:
    assert BLOCKS == 5
    pixels = noise()
    cover_faces(pixels, [BOX], "pixelate", margin=1.0)
    inside = pixels[30:110, 40:104]  # the box itself, wholly inside the ellipse
    least = math.ceil(80 / BLOCKS)
    for axis in (0, 1):
        lines = np.flatnonzero(np.diff(inside.astype(int), axis=axis).any(axis=(1 - axis, 2))) + 1
        assert len(lines) > 1  # edges of blocks
        assert np.diff(lines).min() >= least
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= (BLOCKS + 1) ** 2


def test_a_blur_tells_no_more_than_the_averages() -> None:
    # Two pictures with the same average in each block are the same when blurred.
    face = noise(size_wh=(BLOCKS, BLOCKS)) // 2 + 40
    flat = face.repeat(26, axis=0).repeat(26, axis=1).astype(np.uint8)
    fine = flat.copy()
    fine[::2] += 20
    fine[1::2] -= 20
    assert not np.array_equal(flat, fine)
    for how in ("pixelate", "blur"):
        covered = [flat.copy(), fine.copy()]
        for each in covered:
            cover_faces(each, [[0, 0, 130, 130]], how, margin=0.0)
        inside = ellipse([0, 0, 130, 130], 0.0, (130, 130)) < 1
        assert np.array_equal(covered[0][inside], covered[1][inside])


def test_the_smallest_faces_are_changed_too() -> None:
    pixels = noise()
    cover_faces(pixels, [[50, 50, 56, 57]], margin=0.0)
    assert (pixels != noise()).any(axis=2).sum() > 25


def test_box_is_black_and_mean_one_color() -> None:
    pixels = noise(channels=4)
    cover_faces(pixels, [BOX], "box", black=[0, 0, 0, 255])
    assert pixels[70, 72].tolist() == [0, 0, 0, 255]
    pixels = noise()
    cover_faces(pixels, [BOX], "mean")
    inside = ellipse(BOX, 0.3, (200, 160)) < 1
    assert len(np.unique(pixels[inside], axis=0)) == 1
    assert abs(int(pixels[70, 72, 0]) - 127) < 8


def test_boxes_at_and_beyond_the_border() -> None:
    pixels = noise()
    cover_faces(pixels, [[-30, -20, 20, 30], [190, 150, 400, 300]])
    changed = (pixels != noise()).any(axis=2)
    assert changed[0, 0]
    assert changed[-1, -1]
    assert not changed[80, 100]
    same = noise()
    cover_faces(same, [[500, 500, 600, 600], [-90, -90, -50, -40], [3, 3, 3, 3]])
    cover_faces(same, np.zeros((0, 4)))
    assert np.array_equal(same, noise())


@pytest.mark.parametrize(("how", "margin"), [("melt", 0.3), ("blur", -0.1), ("blur", math.nan)])
def test_wrong_arguments_are_named(how: str, margin: float) -> None:
    with pytest.raises(ConfigError, match="how|margin"):
        cover_faces(noise(), [BOX], how, margin)
