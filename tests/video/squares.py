"""Videos of colored squares, and a stand-in for the client that finds them: a face each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from facekit.contract import CLASS_NAMES
from facekit.faces import Faces
from tests.face_shapes import points_68
from tests.video.videos import SIZE_WH

SIDE = 40
RED, BLUE = (230, 20, 20), (20, 20, 230)


def squares(
    places: Sequence[tuple[float, float]],
    colors: Sequence[tuple[int, int, int]] | None = None,
    size_wh: tuple[int, int] = SIZE_WH,
) -> np.ndarray:
    """A frame with a square at each left upper corner."""
    image = np.full((size_wh[1], size_wh[0], 3), 120, np.uint8)
    for index, (left, top) in enumerate(places):
        color = RED if colors is None else colors[index]
        image[round(top) : round(top) + SIDE, round(left) : round(left) + SIDE] = color
    return image


def faces_at(corners: Sequence[tuple[float, float]], labels: Sequence[int] = ()) -> Faces:
    """Faces whose boxes are the squares."""
    boxes = np.array([(x, y, x + SIDE, y + SIDE) for x, y in corners], np.float32).reshape(-1, 4)
    points = [points_68((x + SIDE / 2, y + SIDE / 3), SIDE / 3) for x, y in corners]
    named: dict[str, Any] = {}
    if len(labels):
        named = {"labels": np.array(labels, np.int32), "class_names": CLASS_NAMES["facemask"]}
    return Faces(
        boxes_xyxy=boxes,
        scores=np.full(len(boxes), 0.9),
        points_xy=np.array(points, np.float32).reshape(-1, 68, 2),
        point_scores=np.full((len(boxes), 68), 0.9),
        size_wh=SIZE_WH,
        **named,
    )


class SquareClient:
    """Finds squares that do not overlap, red ones as the first class and blue ones as the other."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, photo: bytes, *, model: str) -> Faces:
        from scipy import ndimage

        self.calls += 1
        pixels = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")).astype(int)
        corners, labels = [], []
        for label, channel in enumerate((0, 2)):
            mask, _ = ndimage.label(pixels[..., channel] - pixels[..., 1] > 100)
            for rows, columns in ndimage.find_objects(mask):
                if rows.stop - rows.start > SIDE / 2:
                    corners.append((columns.start, rows.start))
                    labels.append(label)
        return faces_at(corners, labels if model == "facemask_ensemble" else ())
