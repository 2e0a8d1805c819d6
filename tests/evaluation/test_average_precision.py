from __future__ import annotations

import numpy as np
import pytest

from facekit.evaluation.average_precision import FrameResult, curve, iou_matrix


def result(
    boxes: list[list[float]],
    scores: list[float],
    truth: list[list[float]],
    counted: list[bool] | None = None,
) -> FrameResult:
    return FrameResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(truth, np.float32).reshape(-1, 4),
        np.array([True] * len(truth) if counted is None else counted),
        np.ones(len(boxes), bool),
    )


A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def test_iou() -> None:
    first = np.array([A, FAR], np.float32)
    second = np.array([[5, 0, 15, 10]], np.float32)
    np.testing.assert_allclose(iou_matrix(first, second)[:, 0], [1 / 3, 0], atol=1e-6)


def test_perfect_detections() -> None:
    assert curve([result([A, B], [0.9, 0.8], [A, B])], 0.5).average_precision == 1.0


def test_a_face_is_found_once() -> None:
    points = curve([result([A, A, B], [0.9, 0.8, 0.7], [A, B])], 0.5)
    # Hits at ranks 1 and 3: 1/2 * 1 + 1/2 * 2/3.
    assert points.average_precision == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert points.at(0.85) == (1.0, 0.5)


def test_faces_not_counted_are_neither_missed_nor_false() -> None:
    points = curve([result([A, B], [0.9, 0.8], [A, B], [False, True])], 0.5)
    assert points.average_precision == 1.0
    assert points.faces == 1


def test_false_faces_and_nothing_found() -> None:
    assert curve([result([FAR], [0.9], [A])], 0.5).average_precision == 0.0
    assert curve([result([], [], [A])], 0.5).average_precision == 0.0
