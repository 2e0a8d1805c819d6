"""The landmark scheme covers every index once."""

from __future__ import annotations

import pytest

from facekit.errors import ConfigError
from facekit.landmarks.scheme import POINT_COUNTS, groups, skeleton


@pytest.mark.parametrize("count", POINT_COUNTS)
def test_groups_cover_each_point_once(count: int) -> None:
    indices = [i for span in groups(count).values() for i in span]
    assert indices == list(range(count))


@pytest.mark.parametrize("count", POINT_COUNTS)
def test_skeleton_joins_points_of_one_part(count: int) -> None:
    part = {i: name for name, span in groups(count).items() for i in span}
    lines = skeleton(count)
    assert all(part[a] == part[b] for a, b in lines)
    assert (30, 31) not in lines
    assert (41, 36) in lines  # eyes are closed lines


def test_groups_of_an_unknown_count() -> None:
    with pytest.raises(ConfigError, match="no landmark scheme has 5 points; known are 68, 80, 104"):
        groups(5)
