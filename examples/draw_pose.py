"""Draw the signs of a head's pose with the mean face: ``python -m examples.draw_pose OUT.jpg``.

The picture of docs/folders.md: a face from the front, and one for each positive angle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.draw import draw_into, font
from facekit.faces import Faces
from facekit.landmarks.pose import MEAN_FACE, rotations_of
from facekit.outputs import picture_bytes

POSES = (
    ("0, 0, 0", (0.0, 0.0, 0.0)),
    ("yaw +35", (35.0, 0.0, 0.0)),
    ("pitch +25", (0.0, 25.0, 0.0)),
    ("roll +20", (0.0, 0.0, 20.0)),
)
"""Name, and yaw, pitch and roll in degrees."""
TILE_WH = (250, 290)
_EYES_PX = 78
"""Distance of the eyes, as seen from the front."""
_GROUND = (58, 64, 74)
_LETTERS = (236, 239, 244)


def draw_poses() -> Image.Image:
    """Return the picture, a tile for each of ``POSES``."""
    width, height = TILE_WH
    angles = np.array([pose for _, pose in POSES])
    turned = (MEAN_FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2]
    places = [[(k + 0.5) * width, 0.36 * height] for k in range(len(POSES))]
    points = _EYES_PX * turned + np.array(places)[:, None]
    low, high = points.min(axis=1) - 8, points.max(axis=1) + 8
    image = Image.new("RGB", (width * len(POSES), height), _GROUND)
    faces = Faces(
        boxes_xyxy=np.concatenate([low, high], axis=1),
        scores=np.ones(len(POSES), np.float32),
        points_xy=points,
        point_scores=np.ones(points.shape[:2], np.float32),
        size_wh=image.size,
    )
    draw_into(image, faces, scores=False, pose=True)
    pen = ImageDraw.Draw(image)
    for (name, _), (x, _) in zip(POSES, places, strict=True):
        pen.text((x, height - 16), name, fill=_LETTERS, font=font(17), anchor="mm")
    return image


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.write_bytes(picture_bytes(draw_poses(), out.suffix))
