"""Made-up old group photos: a stand-in for a set of gray group photos that is not at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.facenet import scenes
from training.facenet.degrade import degrade
from training.facenet.scenes import Frame, Patch, log_uniform
from training.facesets import (
    CROP_FACE_BOX,
    PORTRAIT_TEST_FOLDER,
    WEBFACE_FILE,
    Photo,
    no_face_photos,
    pts_photos,
    read_webfaces,
)
from training.loop import step_rng

PHOTO_COUNT = 120
PROXY_SEED = 20261121
TIGHT: tuple[float, float, float, float] = (0.08, 0.17, 0.08, 0.1)
"""Shares of a face box cut off at the left, top, right and bottom: brows to below the lips."""


def tighten(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tight box, brows to below the lips, of a face box."""
    width, height = box[2] - box[0], box[3] - box[1]
    shares = np.array(TIGHT, dtype=np.float32) * np.array([width, height, -width, -height])
    result: NDArray[np.float32] = (box + shares).astype(np.float32)
    return result


def group_photos(data: Path) -> Iterator[Photo]:
    """Make gray, grainy group photos from evaluation faces and scenes.

    The faces are the held-out web-face crops and the test portraits.

    Args:
        data: Folder of the face sets.

    Yields:
        Photos of 400 to 900 pixels with tight boxes; the same ones each time.
    """
    empty = list(no_face_photos(data, "evaluation"))
    crops = read_webfaces(data / WEBFACE_FILE, evaluation=True)
    portraits = list(pts_photos(data / PORTRAIT_TEST_FOLDER, complete=True))
    for index in range(PHOTO_COUNT):
        rng = step_rng(PROXY_SEED, index)
        height = int(rng.integers(320, 600))
        size = (int(height * float(rng.choice([1.0, 1.25, 1.33, 1.5]))), height)
        frame = Frame(scenes.plain_background(rng, size))
        if rng.random() < 0.7:
            scene = empty[int(rng.integers(len(empty)))]
            scale = max(size[0] / scene.image.width, size[1] / scene.image.height)
            scenes.paste_view(frame, scene, rng, (scale, scale))
        typical = log_uniform(rng, 16, 70) * height / 416
        people = int(rng.integers(1, 9))
        draw = ImageDraw.Draw(frame.image)
        for _ in range(people):
            tall = typical * float(np.exp(rng.normal(0, 0.1)))
            center = (
                float(rng.uniform(0.6 * tall, size[0] - 0.6 * tall)),
                float(rng.uniform(0.7 * tall, size[1] - 0.8 * tall)),
            )
            x, y = center
            body = (x - tall, y + 0.5 * tall, x + tall, y + 4 * tall)
            around = np.array([x - tall, y - tall, x + tall, y + tall], dtype=np.float32)
            if frame.overlaps(around) or frame.overlaps(np.array(body, dtype=np.float32)):
                continue
            patch = _head(rng, crops, portraits, tall)
            draw.rounded_rectangle(body, 0.4 * tall, fill=(int(rng.integers(20, 200)),) * 3)
            scenes.paste_patch(frame, patch, rng, center, tall, 1.0, allow_overlap=True)
        pixels = degrade(frame.image, rng, gray=True)
        boxes = np.array([tighten(box) for box in frame.boxes], dtype=np.float32)
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        yield Photo(f"group{index:03d}", image, boxes.reshape(-1, 4))


def _head(
    rng: np.random.Generator, crops: NDArray[np.uint8], portraits: list[Photo], tall: float
) -> Patch:
    """Draw a web face, or, for larger faces mostly, a portrait's head."""
    if rng.random() < (0.75 if tall < 50 else 0.35):
        crop = crops[int(rng.integers(len(crops)))]
        return Patch(Image.fromarray(crop), np.array(CROP_FACE_BOX, dtype=np.float32))
    return scenes.portrait_patch(rng, portraits[int(rng.integers(len(portraits)))])
