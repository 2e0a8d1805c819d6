from __future__ import annotations

import math

import numpy as np
import pytest

from facekit.evaluation.class_scores import (
    NO_CLASS,
    ClassEvaluation,
    ScoredPhoto,
    mean_average_precision,
    score_classes,
)

MASK, BARE = 0, 1
A, B = [0, 0, 40, 40], [100, 0, 140, 40]
SMALL, WIDE = [200, 0, 210, 10], [0, 100, 200, 140]


def photo(
    found: list[tuple[list[float], float, int]],
    true: list[tuple[list[float], int]],
    ignored: list[bool] | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> ScoredPhoto:
    return ScoredPhoto(
        np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int32),
        np.array([box for box, _ in true], np.float32).reshape(-1, 4),
        np.array([label for _, label in true], np.int32),
        np.array([False] * len(true) if ignored is None else ignored, bool),
        scale,
    )


EACH = (ClassEvaluation(), ClassEvaluation())
BIG = (ClassEvaluation(minimum_width=20, minimum_height=20),) * 2


@pytest.mark.parametrize(
    ("photos", "how", "mask", "bare", "mean"),
    [
        ([], EACH, math.nan, math.nan, math.nan),
        ([photo([], [])], EACH, math.nan, math.nan, math.nan),
        ([photo([(A, 0.9, MASK)], [(A, MASK)])], EACH, 1, math.nan, 1),
        ([photo([(A, 0.9, MASK)], [(A, MASK), (B, BARE)])], EACH, 1, 0, 0.5),
        # The wrong class is a false detection of that class and a missed face of the other.
        ([photo([(A, 0.9, BARE), (B, 0.8, BARE)], [(A, MASK), (B, BARE)])], EACH, 0, 0.5, 0.25),
        # A class that is not measured is neither, whatever was found there.
        ([photo([(A, 0.9, BARE), (B, 0.8, BARE)], [(A, NO_CLASS), (B, BARE)])], EACH,
         math.nan, 1, 1),
        # A face marked as ignored likewise, though its class is known.
        ([photo([(A, 0.9, BARE), (B, 0.8, BARE)], [(A, MASK), (B, BARE)], [True, False])], EACH,
         math.nan, 1, 1),
        # Faces that are too small do not count, found or not ...
        ([photo([(A, 0.8, MASK)], [(A, MASK), (SMALL, MASK)])], BIG, 1, math.nan, 1),
        ([photo([(SMALL, 0.9, MASK), (A, 0.8, MASK)], [(A, MASK), (SMALL, MASK)])], BIG,
         1, math.nan, 1),
        # ... nor does a false one of that size.
        ([photo([(SMALL, 0.9, MASK), (A, 0.8, MASK)], [(A, MASK)])], BIG, 1, math.nan, 1),
        ([photo([(SMALL, 0.9, MASK), (A, 0.8, MASK)], [(A, MASK)])], EACH, 0.5, math.nan, 0.5),
        # Sizes are measured in the frame: half the pixels here.
        ([photo([], [(A, MASK)], scale=(0.5, 0.5))], BIG, 0, math.nan, 0),
        ([photo([], [(A, MASK)], scale=(0.5, 0.49))], BIG, math.nan, math.nan, math.nan),
        ([photo([], [(A, MASK)], scale=(0.49, 0.5))], BIG, math.nan, math.nan, math.nan),
        # A maximum is the first size that does not count; each class has its own.
        ([photo([], [(WIDE, MASK), (WIDE, BARE)])],
         (ClassEvaluation(maximum_width=200), ClassEvaluation(maximum_width=200.5)),
         math.nan, 0, 0),
        ([photo([], [(A, MASK), (A, BARE)])],
         (ClassEvaluation(maximum_height=40), ClassEvaluation(minimum_height=40)),
         math.nan, 0, 0),
        # Half a face to the right the overlap is 1/3.
        ([photo([([20, 0, 60, 40], 0.9, MASK), ([120, 0, 160, 40], 0.9, BARE)],
                [(A, MASK), (B, BARE)])],
         (ClassEvaluation(minimum_overlap=0.3), ClassEvaluation(minimum_overlap=0.4)),
         1, 0, 0.5),
    ],
)  # fmt: skip
def test_scores_by_class(
    photos: list[ScoredPhoto],
    how: tuple[ClassEvaluation, ClassEvaluation],
    mask: float,
    bare: float,
    mean: float,
) -> None:
    scores = score_classes(photos, ("mask", "no-mask"), how)
    assert [score.name for score in scores] == ["mask", "no-mask"]
    found = [score.average_precision for score in scores]
    assert found == pytest.approx([mask, bare], nan_ok=True)
    assert mean_average_precision(scores) == pytest.approx(mean, nan_ok=True)


def test_the_mode_is_that_of_the_precision() -> None:
    photos = [photo([(A, 0.9, 0)], [(A, 0), (B, 0)])]
    sampled = score_classes(photos, ("face",), EACH[:1], "SAMPLE")
    assert sampled[0].average_precision == pytest.approx(6 / 11)


def test_a_rule_a_class() -> None:
    with pytest.raises(ValueError, match="zip"):
        score_classes([], ("mask", "no-mask"), EACH[:1])
