from __future__ import annotations

import math

import numpy as np
import pytest

from facekit.errors import ConfigError
from facekit.evaluation.landmark_errors import LandmarkErrors, faces_on, region_points

FACE = np.zeros((68, 2), np.float32)
FACE[36], FACE[45] = (10, 0), (50, 0)  # 40 px apart
BOX = np.float32([0, 0, 100, 160])  # a crop pixel is two of the photo


def moved(points: slice, by: float) -> np.ndarray:
    face = FACE.copy()
    face[points, 1] += by
    return face


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (68, ["all", "eyes", "mouth", "jaw", "brows", "nose"]),
        (80, ["all", "eyes", "mouth", "jaw", "brows", "nose", "pupils", "ears"]),
        (104, ["all", "eyes", "mouth", "jaw", "brows", "nose", "pupils", "ears", "extra eyes"]),
    ],
)
def test_regions_share_out_the_points(count: int, names: list[str]) -> None:
    regions = region_points(count)
    assert list(regions) == names
    shared = np.concatenate([regions[name] for name in names[1:]])
    # The scheme's extra points around the eyes begin behind the ears.
    assert sorted(shared.tolist()) == regions["all"].tolist() == list(range(count))
    assert regions["eyes"].tolist() == list(range(36, 48))
    assert regions["mouth"].tolist() == list(range(48, 68))


def test_regions_of_an_unknown_scheme() -> None:
    with pytest.raises(ConfigError, match="17 points"):
        region_points(17)


NEAR, FAR = [0, 0, 10, 10], [50, 0, 60, 10]


@pytest.mark.parametrize(
    ("boxes", "scores", "true", "chosen"),
    [
        ([], [], [], []),
        ([], [], [NEAR], [-1]),
        ([NEAR], [0.9], [], []),
        ([NEAR], [0.9], [NEAR, FAR], [0, -1]),
        # The surest of those on the face, not the best one.
        ([NEAR, [4, 0, 14, 10]], [0.5, 0.9], [NEAR], [1]),
        ([NEAR, [4, 0, 14, 10]], [0.9, 0.5], [NEAR], [0]),
        ([FAR, [4, 0, 14, 10], NEAR], [0.1, 0.9, 0.5], [NEAR, FAR], [1, 0]),
        # An overlap of 1/9 is not on the face.
        ([[8, 0, 18, 10]], [0.9], [NEAR], [-1]),
        # A box that overlaps two faces is the nearer one's.
        ([[2, 0, 12, 10]], [0.9], [[5, 0, 15, 10], [1, 0, 11, 10]], [-1, 0]),
    ],
)
def test_faces_on(
    boxes: list[list[float]], scores: list[float], true: list[list[float]], chosen: list[int]
) -> None:
    found = faces_on(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(true, np.float32).reshape(-1, 4),
    )
    assert found.tolist() == chosen


def test_no_faces_have_no_errors() -> None:
    for missed, share in ((0, math.nan), (3, 1.0)):
        errors = LandmarkErrors.of_faces([], [], [], missed=missed, point_count=80)
        assert errors.faces == missed
        assert errors.missed_share == pytest.approx(share, nan_ok=True)
        assert errors.failed_share == pytest.approx(share, nan_ok=True)
        assert math.isnan(errors.median_eye_share)
        assert all(math.isnan(value) for pair in errors.by_region().values() for value in pair)
        assert "pupils" in errors.by_region()


def test_errors_by_region() -> None:
    # The mouth's 20 points are 6 px too low: 3 crop pixels, 0.15 of the eye distance.
    errors = LandmarkErrors.of_faces([moved(slice(48, 68), 6)], [FACE], [BOX])
    regions = errors.by_region()
    assert regions["mouth"] == pytest.approx((3, 0.15))
    assert regions["eyes"] == regions["nose"] == (0, 0)
    assert regions["all"] == pytest.approx((3 * 20 / 68, 0.15 * 20 / 68))


def test_a_face_fails_by_its_mean_error() -> None:
    # Of 40 px, 0.08 is 3.2.
    found = [moved(slice(0, 68), by) for by in (3.1, 3.3, 0.0)]
    errors = LandmarkErrors.of_faces(found, [FACE] * 3, [BOX] * 3, missed=1)
    assert errors.faces == 4
    assert errors.missed_share == 0.25
    assert errors.failed_share == 0.5
    assert errors.median_eye_share == pytest.approx(3.1 / 40)


def test_points_not_annotated_do_not_count() -> None:
    true = FACE.copy()
    true[48:67] = np.nan
    errors = LandmarkErrors.of_faces([moved(slice(48, 68), 6)], [true], [BOX])
    assert errors.by_region()["mouth"] == pytest.approx((3, 0.15))
    assert errors.by_region()["all"] == pytest.approx((3 / 49, 0.15 / 49))
    # Without the eye corners there is no eye distance, but crop pixels there are.
    true[36] = np.nan
    errors = LandmarkErrors.of_faces([moved(slice(48, 68), 6)], [true], [BOX])
    pixels, shares = errors.by_region()["mouth"]
    assert pixels == pytest.approx(3)
    assert math.isnan(shares)
    assert errors.failed_share == 0


def test_eye_corners_in_one_place_give_no_share() -> None:
    true = np.zeros((68, 2), np.float32)
    errors = LandmarkErrors.of_faces([true + 2], [true], [BOX])
    pixels, share = errors.by_region()["all"]
    assert pixels == pytest.approx(math.sqrt(2))
    assert math.isnan(share)
