"""What the benchmark of covered faces counts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.unrecognizable import _Tally, covered_share, results

BOX = np.array([40.0, 30.0, 80.0, 90.0])


def test_the_covered_part_of_a_face() -> None:
    size_wh = (200, 150)
    assert covered_share(BOX, BOX[None], size_wh) == 1.0
    assert covered_share(BOX, np.zeros((0, 4)), size_wh) == 0.0
    assert covered_share(BOX, BOX[None] + [100, 0, 100, 0], size_wh) == 0.0
    part = covered_share(BOX, BOX[None] + [40, 0, 40, 0], size_wh)
    assert 0.05 < part < 0.5


def test_figures_of_answers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tally = _Tally(tmp_path, 2, 60)
    tally.photos, tally.labeled, tally.covered, tally.found = 4, 10, 9, 12
    names = ("nothing", "pixelate", "blur", "box", "mean")
    tally.rows = {"0": dict.fromkeys(names, 0.05), "1": dict.fromkeys(names, 0.2)}
    answers = [
        {
            "name": "0",
            "distance": dict.fromkeys(names, 0.5),
            "found": dict.fromkeys(names, False),
            "others": [],
        },
        {
            "name": "1",
            "distance": dict.fromkeys(names, 0.8),
            "found": dict.fromkeys(names, True),
            "others": [0.9],
        },
    ]
    figures = results(tally, answers)
    assert figures["covered"] == 0.9
    assert figures["found_a_photo"] == 3
    assert figures["others_match"] == 0
    blur = figures["methods"]["blur"]
    assert (blur["matches"], blur["landmarks_match"]) == (0.5, 0.5)
    assert blur["recognized"] == 0  # what matches is not found
    assert blur["median_distance"] == pytest.approx(0.65)
    assert results(tally, [])["methods"] == {}
