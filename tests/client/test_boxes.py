from __future__ import annotations

import numpy as np
import pytest

from facekit import BoxError, limits
from facekit.client.calls import check_boxes
from facekit.landmarks import crops


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), (), np.zeros(0)])
def test_check_boxes_none_is_fine(boxes: object) -> None:
    assert check_boxes(boxes).shape == (0, 4)  # type: ignore[arg-type]


def test_check_boxes_good_ones_come_back_as_float32() -> None:
    boxes = check_boxes([[1, 2, 3, 4], [-5.5, 0, 5, 9]])
    assert boxes.dtype == np.float32 and boxes.tolist() == [[1, 2, 3, 4], [-5.5, 0, 5, 9]]
    assert len(check_boxes(np.tile([0, 0, 1, 1], (limits.MAX_BOXES, 1)))) == limits.MAX_BOXES


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3, 4], r"expected shape \(N, 4\), got \(4,\)"),
        (np.zeros((0, 5)), r"expected shape \(N, 4\), got \(0, 5\)"),
        (np.zeros((2, 2, 2)), r"got \(2, 2, 2\)"),
        ([[1, 2, 3], [1]], "expected numbers"),
        ("boxes", "expected numbers"),
        ([[0, 0, 9, 9], [0, 0, np.nan, 9]], r"box 2 of 2 \(0, 0, nan, 9\) is not finite"),
        ([[0, -np.inf, 9, 9]], r"box 1 of 1 \(0, -inf, 9, 9\) is not finite"),
        ([[9, 0, 0, 9]], "box 1 of 1 .* is empty or inverted"),
        ([[0, 0, 9, 9], [0, 5, 9, 5]], "box 2 of 2"),
        (np.tile([0, 0, 1, 1], (10_000, 1)), "10,000 boxes; the limit of one photo is 1,024"),
    ],
)
def test_check_boxes_bad_ones_are_refused_by_number(boxes: object, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        check_boxes(boxes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [[0, 0, np.nan, 9], [9, 0, 0, 9], [0, 5, 9, 5.0], [-9, -9, 1e9, -9]]
)
def test_check_boxes_says_what_the_server_would(bad: list[float]) -> None:
    boxes = np.array([[0, 0, 9, 9], bad], np.float32)
    with pytest.raises(BoxError) as here:
        check_boxes(boxes)
    with pytest.raises(BoxError) as there:
        crops.check_boxes(boxes, size_wh=(100, 100))
    assert str(here.value) == str(there.value)
