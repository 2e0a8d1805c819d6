"""Answers: drawings of photos that are too large to be drawn as they are, and their description."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facekit import Faces
from facekit.gateway import answers
from facekit.gateway.answers import Found
from facekit.gateway.app import create_app
from facekit.gateway.counts import Counts
from facekit.gateway.settings import GatewaySettings
from tests.photo_files import encode, oriented_jpeg, picture


@pytest.mark.parametrize(
    ("photo", "scale"),
    [
        (encode(picture((400, 240)), "JPEG"), 2),
        (encode(picture((401, 239)), "PNG"), 2),
        (oriented_jpeg(picture((800, 480)), 6), 4),
        (encode(picture((100, 60)), "JPEG"), 1),
    ],
)
def test_a_large_photo_is_drawn_smaller(
    photo: bytes, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_DRAWN_PIXELS", 30_000)
    width, height = size_wh = Image.open(io.BytesIO(photo)).size
    if scale == 4:
        width, height = size_wh = (height, width)
    box = np.array([[0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]])
    faces = replace(
        Faces.empty(size_wh),
        boxes_xyxy=box,
        scores=[0.9],
        points_xy=np.zeros((1, 0, 2)),
        point_scores=np.zeros((1, 0)),
        sharpness=np.zeros(0),
    )
    drawn = pixels(faces, photo)
    assert np.abs(np.array(drawn.shape[:2]) - (height / scale, width / scale)).max() < 1
    # The box's sides, halfway down.
    changed = np.abs(drawn - pixels(Faces.empty(size_wh), photo))[len(drawn) // 2].sum(axis=1)
    left, right = np.flatnonzero(changed > 100)[[0, -1]]
    assert abs(left - 0.25 * drawn.shape[1]) < 5 > abs(right - 0.75 * drawn.shape[1])


def pixels(faces: Faces, photo: bytes) -> np.ndarray:
    drawn = Image.open(io.BytesIO(Found("faces", faces).drawn(photo).body))
    return np.asarray(drawn, np.int16)


def test_every_schema_of_openapi_is_one_that_a_call_has() -> None:
    app = create_app(GatewaySettings(), Counts(), pytest.fail)
    document = app.openapi()

    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
