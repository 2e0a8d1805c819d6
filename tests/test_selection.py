"""Which faces are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facekit.errors import ConfigError, InputError
from facekit.faces import Faces
from facekit.landmarks.pose import MEAN_FACE, rotations_of
from facekit.selection import FaceLimits


def faces() -> Faces:
    """Four faces that turn by 0, 30, -50 and 70 degrees."""
    angles = np.array([[yaw, 0, 0] for yaw in (0, 30, -50, 70)], np.float64)
    return Faces(
        boxes_xyxy=[[0, 0, 50, 60], [0, 0, 60, 20], [0, 0, 30, 30], [0, 0, 90, 90]],
        scores=[0.9, 0.8, 0.7, 0.6],
        points_xy=(30 * MEAN_FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2] + 100,
        point_scores=np.ones((4, 68)),
        size_wh=(200, 200),
        sharpness=[0.4, 0.3, np.nan, 0.2],
    )


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (FaceLimits(), [0, 1, 2, 3]),
        (FaceLimits(min_score=0.7), [0, 1, 2]),
        (FaceLimits(min_size_px=30), [0, 2, 3]),
        (FaceLimits(min_sharpness=0.2), [0, 1, 3]),
        (FaceLimits(min_sharpness=0.25), [0, 1]),
        (FaceLimits(max_yaw_deg=49), [0, 1]),
        (FaceLimits(max_yaw_deg=51), [0, 1, 2]),
        (FaceLimits(0.8, 30, 0.1, 40), [0]),
    ],
)
def test_all_limits_have_to_be_met(limits: FaceLimits, kept: list[int]) -> None:
    assert limits.keep(faces()) == faces()[kept]


def test_an_unknown_sharpness_is_told_and_an_unknown_pose_left_out() -> None:
    unknown = replace(faces(), sharpness=np.zeros(0, np.float32))
    assert np.isnan(unknown.sharpness).all() and np.isnan(unknown[0].sharpness)
    with pytest.raises(InputError, match="these faces have no sharpness, which only the model"):
        FaceLimits(min_sharpness=0.1).keep(unknown)
    boxes_only = replace(
        faces(),
        points_xy=np.zeros((4, 0, 2), np.float32),
        point_scores=np.zeros((4, 0), np.float32),
    )
    assert len(FaceLimits(max_yaw_deg=90).keep(boxes_only)) == 0
    assert len(FaceLimits(min_sharpness=0.1, max_yaw_deg=90).keep(Faces.empty())) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"min_score": 1.1}, "min_score: expected a number from 0 to 1, got 1.1"),
        ({"min_sharpness": -1}, "min_sharpness: expected a number from 0 to 1, got -1"),
        ({"min_size_px": float("nan")}, "min_size_px: expected pixels >= 0, got nan"),
        ({"max_yaw_deg": 181}, "max_yaw_deg: expected 0 to 180 degrees, got 181"),
    ],
)
def test_limits_out_of_range_are_named(values: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FaceLimits(**values)
