"""The portraits of the demo: one box on the face, and landmarks where eyes, nose and mouth are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from matplotlib import get_data_path
from PIL import Image

from facekit import Client
from facekit.serving.embedded import EmbeddedServer


def astronaut() -> np.ndarray:
    return np.asarray(skimage.data.astronaut())


def grace_hopper() -> np.ndarray:
    return np.asarray(Image.open(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"))


# Where eyes and mouth lie, read off enlarged photos by eye.
PORTRAITS = {
    "astronaut": (
        astronaut,
        {"right_eye": (204, 102), "left_eye": (247, 104), "mouth": (225, 147)},
    ),
    "grace_hopper": (
        grace_hopper,
        {"right_eye": (223, 193), "left_eye": (306, 191), "mouth": (269, 280)},
    ),
}


@pytest.mark.parametrize("name", PORTRAITS)
def test_portrait_has_one_box_and_landmarks_on_the_face(server: EmbeddedServer, name: str) -> None:
    load, places = PORTRAITS[name]
    with Client(server.grpc_url) as client:
        faces = client.detect(load())
    assert len(faces) == 1
    (face,) = faces
    assert face.score > 0.8
    x1, y1, x2, y2 = face.box_xyxy
    assert face.points_xy.shape == (68, 2)
    for part, (x, y) in places.items():
        assert x1 < x < x2
        assert y1 < y < y2
        points = face.part("outer_mouth" if part == "mouth" else part)
        distance = np.hypot(*(points.mean(axis=0) - (x, y)))
        assert distance < 0.1 * face.width, f"{part} at {points.mean(axis=0)}"
