"""Landmarks of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from facekit import BoxError, Client, ResponseError
from tests.client.conftest import BOX
from tests.fake_triton import FakeTriton, landmarks_answer


def test_landmarks_sends_boxes_and_reads_points(fake: FakeTriton, client: Client) -> None:
    points, scores = client.landmarks(b"photo", [[1, 2, 3, 4], [5, 6, 7, 8]])
    [(model, inputs)] = fake.received
    assert model == "landmarks" and inputs["boxes"].dtype == np.float32
    assert inputs["boxes"].tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert points.shape == (2, 68, 2) and scores.shape == (2, 68)
    points += 1
    scores += 1


def test_landmarks_of_no_box_is_empty_without_a_call(fake: FakeTriton, client: Client) -> None:
    points, scores = client.landmarks(b"photo", [])
    assert points.shape == (0, 68, 2) and scores.shape == (0, 68)
    assert fake.received == []


def test_landmarks_bad_box_is_refused_without_a_call(fake: FakeTriton, client: Client) -> None:
    with pytest.raises(BoxError, match="box 1 of 1"):
        client.landmarks(b"photo", [[9, 9, 1, 1]])
    assert fake.received == []


def test_landmarks_of_another_number_of_boxes_breaks_the_contract(
    fake: FakeTriton, client: Client
) -> None:
    fake.answer = lambda *_: landmarks_answer(3)
    with pytest.raises(ResponseError, match="landmarks of 3 boxes for 1 sent"):
        client.landmarks(b"photo", BOX)
