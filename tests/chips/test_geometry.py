"""Where faces come to lie in their chips, with landmarks that are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from facekit.chips import (
    DegenerateFaceError,
    arcface_from_photo,
    chip_from_photo,
    cut_chip,
    eyes_center_xy,
)
from tests.face_shapes import points_68

BOX = (100, 100, 300, 300)


def mapped(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


@pytest.mark.parametrize("rotation", [0, 17.5, -60, 90, 135, 180, -179])
@pytest.mark.parametrize(("size", "margin"), [(256, 0.3), (112, 0.0), (100, 1.5)])
def test_eyes_are_level_and_at_the_documented_place(
    rotation: float, size: int, margin: float
) -> None:
    points = points_68((205, 190), 90, rotation)
    affine = chip_from_photo(points, BOX, size, margin)
    chip = mapped(affine, points)
    right, left = chip[36:42].mean(axis=0), chip[42:48].mean(axis=0)
    assert right[1] == pytest.approx(left[1], abs=1e-9) and right[0] < left[0]
    np.testing.assert_allclose((right + left) / 2, eyes_center_xy(size, margin), atol=1e-9)
    # Turned and scaled evenly, not mirrored.
    (a, b), (c, d) = affine[:, :2]
    assert (a, b) == pytest.approx((d, -c)) and a * d - b * c > 0
    # All landmarks lie in the inner square, and one at its edge.
    edge = size * margin / (1 + 2 * margin)
    assert chip.min() >= edge - 1e-9 and chip.max() <= size - edge + 1e-9
    assert min(chip.min() - edge, size - edge - chip.max()) == pytest.approx(0, abs=1e-9)


def test_the_point_farthest_from_the_eyes_sets_the_scale_in_profile() -> None:
    points = points_68((200, 200), 90)
    points[:, 0] = 200 + (points[:, 0] - 200) * 0.15 + 60 * (np.arange(68) < 3)
    chip = mapped(chip_from_photo(points, BOX, 256), points)
    edge = 256 * 0.3 / 1.6
    assert chip.min() >= edge - 1e-9 and chip.max() <= 256 - edge + 1e-9


def _eyes(distance: float) -> np.ndarray:
    points = points_68((200, 200), 90)
    points[36:42], points[42:48] = (200 - distance / 2, 200), (200 + distance / 2, 200)
    return points


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (_eyes(0), "one place"),
        (_eyes(9.9), "9.90 pixels apart in a box of 200: too near"),
        (_eyes(401), "not of this face"),
        (np.where(np.arange(136).reshape(68, 2) == 3, np.nan, _eyes(90)), "not finite"),
        (np.where(np.arange(136).reshape(68, 2) == 90, np.inf, _eyes(90)), "not finite"),
        (np.zeros((17, 2)), "17 points"),
    ],
)
def test_degenerate_faces_are_refused(points: np.ndarray, said: str) -> None:
    with pytest.raises(DegenerateFaceError, match=said):
        chip_from_photo(points, BOX, 256)


def test_eyes_just_far_enough_are_accepted() -> None:
    assert np.isfinite(chip_from_photo(_eyes(10.01), BOX, 256)).all()


@pytest.mark.parametrize("eye_distance", [20.0, 47.3, 94.0, 200.0])
@pytest.mark.parametrize("rotation", [0.0, 31.0, -100.0])
def test_chip_shows_the_eyes_where_they_belong(eye_distance: float, rotation: float) -> None:
    """Two discs are drawn where the eyes are, and found again in the chip within half a pixel."""
    side = int(7 * eye_distance)
    points = points_68((side * 0.52, side * 0.47), eye_distance, rotation)
    y, x = np.mgrid[0:side, 0:side] + 0.5
    values = np.zeros((side, side, 3), np.uint8)
    for channel, span in ((0, slice(36, 42)), (1, slice(42, 48))):
        cx, cy = points[span].mean(axis=0)
        distance = np.hypot(x - cx, y - cy)
        # A cone has its center of mass in its middle however it is sampled.
        values[..., channel] = 255 * np.clip(1 - distance / (0.25 * eye_distance), 0, 1)
    affine = chip_from_photo(points, (*points.min(axis=0), *points.max(axis=0)), 128)
    chip = np.asarray(cut_chip(Image.fromarray(values), affine, 128), float)
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    found = []
    for channel in (0, 1):
        mass = chip[..., channel]
        found.append(((mass * columns).sum() / mass.sum(), (mass * rows).sum() / mass.sum()))
    (rx, ry), (lx, ly) = found
    assert abs(ry - ly) < 0.25 and rx < lx
    assert math.dist(((rx + lx) / 2, (ry + ly) / 2), eyes_center_xy(128)) < 0.25


@pytest.mark.parametrize("eye_distance", [60.0, 130.0, 260.0])
def test_shrinking_does_not_alias(eye_distance: float) -> None:
    """A fine checkerboard, which no chip can show, becomes even gray and no moire."""
    side = int(7 * eye_distance)
    y, x = np.mgrid[0:side, 0:side]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    points = points_68((side / 2, side / 2), eye_distance, 12)
    affine = chip_from_photo(points, (*points.min(axis=0), *points.max(axis=0)), 64)
    chip = np.asarray(cut_chip(Image.fromarray(board), affine, 64), float)
    assert abs(chip.mean() - 127.5) < 2 and chip.std() < 12


def test_beside_the_photo_a_chip_is_black() -> None:
    points = points_68((10, 60), 60)
    affine = chip_from_photo(points, (*points.min(axis=0), *points.max(axis=0)), 64)
    chip = np.asarray(cut_chip(Image.new("RGB", (250, 250), "white"), affine, 64))
    assert not chip[:, :20].any() and (chip[20:40, 40:60] == 255).all()
    points = points_68((900, 900), 60)
    affine = chip_from_photo(points, (*points.min(axis=0), *points.max(axis=0)), 64)
    assert not np.asarray(cut_chip(Image.new("RGB", (120, 120), "white"), affine, 64)).any()


INSIGHTFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
"""``arcface_dst`` of insightface, in OpenCV's pixels, whose centers are whole numbers."""


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity of Umeyama (1991), by singular values, as skimage and insightface have it."""
    middle, wanted = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - wanted).T @ (source - middle) / len(source)
    left, sizes, right = np.linalg.svd(covariance)
    signs = np.array([1, np.linalg.det(left) * np.linalg.det(right)])
    rotation = left @ np.diag(signs) @ right
    scale = (sizes * signs).sum() / (source - middle).var(axis=0).sum()
    return np.column_stack([scale * rotation, wanted - scale * rotation @ middle])


@pytest.mark.parametrize("rotation", [0, 17.5, -60, 135, 180])
def test_arcface_chips_are_those_of_the_reference(rotation: float) -> None:
    rng = np.random.default_rng(1)
    points = points_68((205, 190), 90, rotation) + rng.normal(0, 3, (68, 2))
    five = np.array(
        [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
    )
    theirs = umeyama(five, INSIGHTFACE)  # given pixels of the photo as they come
    ours = arcface_from_photo(points, BOX, 112)
    around = rng.uniform(100, 300, (200, 2))
    # Theirs to the kit's pixels, which count from a corner.
    shift = np.abs(mapped(ours, around) - 0.5 - mapped(theirs, around))
    assert shift.max() <= 0.5 + 1e-9
    # With the photo's pixels in OpenCV's count too, it is the same map.
    same = mapped(umeyama(five - 0.5, INSIGHTFACE), around - 0.5) + 0.5
    np.testing.assert_allclose(mapped(ours, around), same, atol=1e-9)


def test_arcface_chips_scale_and_need_more_than_one_place() -> None:
    points = points_68((205, 190), 90, 10)
    np.testing.assert_allclose(
        arcface_from_photo(points, BOX, 224), 2 * arcface_from_photo(points, BOX, 112)
    )
    with pytest.raises(DegenerateFaceError, match="eyes, nose and mouth at one place"):
        arcface_from_photo(np.full((68, 2), 150.0), BOX, 112)
    with pytest.raises(DegenerateFaceError, match="missing or not finite"):
        arcface_from_photo(np.full((68, 2), np.nan), BOX, 112)
    with pytest.raises(DegenerateFaceError, match="5 points have no eyes"):
        arcface_from_photo(np.zeros((5, 2)), BOX, 112)
