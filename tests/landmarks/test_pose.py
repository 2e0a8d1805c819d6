"""The pose of a head: from points projected at known angles, with and without noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from facekit.errors import ConfigError
from facekit.faces import Face
from facekit.landmarks.eyes import rotations_deg
from facekit.landmarks.pose import (
    MEAN_FACE,
    angles_deg,
    off_frontal_deg,
    poses_deg,
    rotations_of,
)

Array = npt.NDArray[np.float64]
RIGHT, LEFT = slice(36, 42), slice(42, 48)


def projected(angles: Array, face: Array = MEAN_FACE, side: float = 40.0) -> Array:
    """Return a face's points (N, 68, 2) as seen from far away, its eyes ``side`` pixels apart."""
    points: Array = side * (face @ rotations_of(angles).transpose(0, 2, 1))[..., :2] + [300, 200]
    return points


def differences(one: npt.ArrayLike, other: npt.ArrayLike) -> Array:
    """Return the distances of angles in degrees, across 180 too."""
    apart: Array = np.abs((np.asarray(one, np.float64) - other + 180) % 360 - 180)
    return apart


def random_angles(count: int = 400) -> Array:
    return np.random.default_rng(1).uniform([-85, -50, -180], [85, 50, 180], (count, 3))


def test_angles_and_rotations_are_each_others_inverse() -> None:
    angles = random_angles()
    rotations = rotations_of(angles)
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), [np.eye(3)] * 400, atol=1e-12
    )
    np.testing.assert_allclose(angles_deg(rotations), angles, atol=1e-9)


def test_projected_points_give_the_angles_back() -> None:
    angles = random_angles()
    assert differences(poses_deg(projected(angles)), angles).max() < 0.001


def test_noise_of_3_percent_of_the_eye_distance_costs_less_than_5_degrees() -> None:
    angles = random_angles()
    noise = np.random.default_rng(2).normal(0, 0.03 * 40, (400, 68, 2))
    found = differences(poses_deg(projected(angles) + noise), angles)
    assert found.max() < 5
    assert (found.mean(axis=0) < 1).all()


def test_another_face_with_known_angles_is_told_within_2_degrees() -> None:
    # Its points lie elsewhere by 6 % of the eye distance, which is as far as people's eyebrows,
    # mouths and jaws differ from the mean face in 300-W.
    rng = np.random.default_rng(3)
    other = MEAN_FACE + rng.normal(0, 0.06, MEAN_FACE.shape)
    angles = rng.uniform([-60, -25, -180], [60, 25, 180], (400, 3))
    assert (differences(poses_deg(projected(angles, other)), angles).mean(axis=0) < 2).all()


@pytest.mark.parametrize(
    ("angles", "moved"), [((30, 0, 0), (1, 0)), ((0, 30, 0), (0, -1)), ((0, 0, 30), (0, 0))]
)
def test_signs_are_right_up_and_clockwise(
    angles: tuple[int, int, int], moved: tuple[int, int]
) -> None:
    """The tip of the nose, 30, beside the middle of the eyes; a roll turns the eyes' line."""
    points = projected(np.array([angles, (0, 0, 0)], np.float64))
    tips = points[:, 30] - points[:, 36:48].mean(axis=1)
    shift = tips[0] - tips[1]
    if any(moved):
        assert np.dot(shift, moved) > 10
        assert abs(np.dot(shift, moved[::-1])) < 1e-9
    else:
        assert points[0, LEFT].mean(axis=0)[1] > points[0, RIGHT].mean(axis=0)[1] + 10
        found = rotations_deg(points.astype(np.float32))
        np.testing.assert_allclose(found[0], 30, atol=1e-3)


def test_a_turned_photo_changes_only_the_roll() -> None:
    angles = random_angles(50)
    points = projected(angles)
    turned = np.stack([-points[..., 1], points[..., 0]], axis=2)  # by 90 degrees, clockwise
    found = poses_deg(turned) - poses_deg(points)
    assert differences(found, [0, 0, 90]).max() < 0.001


def test_a_mirrored_face_has_the_opposite_yaw_and_roll() -> None:
    from facekit.labels.pts import mirror_order

    points = projected(random_angles(50)) + np.random.default_rng(4).normal(0, 1, (50, 68, 2))
    mirrored = points[:, list(mirror_order())] * [-1, 1]
    assert differences(poses_deg(mirrored), poses_deg(points) * [-1, 1, -1]).max() < 0.05


def test_points_past_the_68th_change_nothing() -> None:
    points = projected(random_angles(5))
    more = np.concatenate([points, np.ones((5, 12, 2))], axis=1)
    np.testing.assert_array_equal(poses_deg(more), poses_deg(points))


def test_a_face_whose_points_coincide_has_no_pose_and_spoils_no_other() -> None:
    points = projected(random_angles(3))
    alone = poses_deg(points)
    points[1] = 7.0
    found = poses_deg(points)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[::2], alone[::2])
    points[1, 5] = np.nan
    assert np.isnan(poses_deg(points)[1]).all()
    # On one line, as no face is: an answer, whatever it is, or none.
    points[1] = np.arange(68)[:, None]
    np.testing.assert_allclose(poses_deg(points)[::2], alone[::2])


def test_an_unknown_scheme_is_refused_where_there_are_faces() -> None:
    assert poses_deg(np.zeros((0, 0, 2))).shape == (0, 3)
    with pytest.raises(ConfigError, match="no landmark scheme has 5 points"):
        poses_deg(np.zeros((1, 5, 2)))


def test_off_frontal_is_the_angle_past_the_camera() -> None:
    angles = random_angles()
    found = off_frontal_deg(angles)
    ahead = -rotations_of(angles)[:, :, 2]  # where the nose points
    np.testing.assert_allclose(np.cos(np.radians(found)), -ahead[:, 2], atol=1e-9)
    np.testing.assert_allclose(off_frontal_deg([[0, 0, 170], [-30, 0, 5]]), [0, 30], atol=1e-6)


def test_a_face_knows_its_pose() -> None:
    points = projected(np.array([[20.0, -10.0, 5.0]]))[0].astype(np.float32)
    face = Face(np.zeros(4, np.float32), 0.9, points, np.ones(68, np.float32))
    np.testing.assert_allclose(face.pose_deg, [20, -10, 5], atol=0.01)
