"""Which photos a sheet shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facekit.annotations.record import PhotoRecord
from facekit.errors import ConfigError
from facekit.sheet import PICKS, pick
from facekit.sheet.pick import farthest_rotation
from tests.face_shapes import faces_of, points_68, record_of

SIZE_WH = (400, 300)


def photo(
    name: str, scores: list[float], rotation: float = 0.0, sharpness: float = 0.2
) -> PhotoRecord:
    points = [points_68((100 + 50 * k, 100), 20, rotation) for k in range(len(scores))]
    faces = faces_of(points, SIZE_WH, scores)
    return record_of(name, replace(faces, sharpness=np.full(len(faces), sharpness)))


PLAIN = [photo(f"plain{k}", [0.9]) for k in range(20)]
RECORDS = [
    *PLAIN[:10],
    photo("many", [0.9] * 9),
    photo("few", [0.9] * 3),
    photo("turned", [0.9], -120),
    photo("tilted", [0.9], 40),
    photo("weak", [0.95, 0.2]),
    photo("weaker", [0.1]),
    photo("sharp", [0.9], sharpness=0.5),
    photo("unknown", [0.9], sharpness=np.nan),
    photo("empty", []),
    *PLAIN[10:],
    *(record_of(f"failed{k}", None, "broken") for k in range(5)),
]


def names(how: str, count: int) -> list[str]:
    return [chosen.record.photo for chosen in pick(RECORDS, how, count)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("most-faces", ["many", "few", "weak"]),
        ("rotation", ["turned", "tilted"]),
        ("lowest-score", ["weaker", "weak"]),
        ("sharpest", ["sharp", "plain0"]),
        ("failures", ["failed0", "failed2", "failed4"]),
        ("spread", ["plain0", "weak", "plain19"]),
    ],
)
def test_each_way_takes_its_own_first(how: str, expected: list[str]) -> None:
    assert names(how, len(expected)) == expected


def test_mixture_has_something_of_each_and_nothing_twice() -> None:
    found = pick(RECORDS, "mixture", 12)
    shown = [chosen.record.photo for chosen in found]
    assert len(shown) == len(set(shown)) == 12
    assert {"many", "turned", "weaker", "few", "tilted", "weak"} <= set(shown)
    assert shown[-2:] == ["failed0", "failed4"]
    why = {chosen.record.photo: chosen.why for chosen in found}
    assert (why["many"], why["turned"], why["weaker"]) == ("many faces", "turned far", "low score")


def test_mixture_calls_nothing_what_it_is_not() -> None:
    records = [*PLAIN, photo("two", [0.8, 0.9]), photo("leaning", [0.9], 15)]
    assert {chosen.why for chosen in pick(records, "mixture", 9)} == {""}
    assert len(pick(records, "mixture", 9)) == 9


@pytest.mark.parametrize("how", PICKS)
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_no_more_than_there_are_and_none_twice(how: str, count: int) -> None:
    shown = names(how, count)
    assert 0 < len(shown) <= count and len(set(shown)) == len(shown)
    if how == "mixture" and count == 1000:
        assert set(shown) == {record.photo for record in RECORDS}


def test_nothing_to_choose_from() -> None:
    assert [pick([], how, 5) for how in PICKS] == [[]] * len(PICKS)
    with pytest.raises(ConfigError, match="unknown way to pick photos 'best'"):
        pick([], "best", 5)


def test_rotation_of_a_photo_is_that_of_the_face_turned_farthest() -> None:
    points = [points_68((100, 100), 20, 10), points_68((200, 100), 20, -50)]
    assert farthest_rotation(faces_of(points, SIZE_WH, [1, 1])) == pytest.approx(-50, abs=0.01)
    assert np.isnan(farthest_rotation(faces_of([], SIZE_WH, [])))
