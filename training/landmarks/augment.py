# mypy: allow-subclassing-any
"""Training crops: faces turned, shifted, scaled, hidden in part, and degraded."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset

from facekit.contract import CROP_SIDE
from facekit.errors import DataError
from facekit.labels.pts import POINT_COUNT, face_box, mirror_order, present
from training.facesets import AFW_FOLDER, PORTRAIT_FOLDER, Photo, pts_photos
from training.landmarks.frames import FRAME_FOLDER, FRAME_WEIGHT, frames
from training.loop import step_rng

SCALE_SPREAD = 0.1
"""Standard deviation of the logarithm of a crop's side over that of the true box's crop.

Of the served detector's boxes on 174 portraits of helen-train it is 0.10.
"""
SHIFT_SPREAD = 0.035
"""Standard deviation of a crop's center from the box's, in sides; of those boxes 0.03."""
PATCH_SIZE = 208
PATCH_FACE = 80.0
"""Longer side of the face box in a stored patch, in pixels."""
BATCH = 32
MASK_POINTS = [*range(17), *range(27, 31), 33]
GLASSES_POINTS = slice(36, 48)
TRAINING_FOLDERS = (PORTRAIT_FOLDER, AFW_FOLDER)
LOGGER = logging.getLogger("training")


@dataclass(frozen=True)
class FacePatch:
    """A face and its surroundings, gray, at a size close to that of a crop.

    Attributes:
        image: Mode L, 208x208; the box's center in the middle, its longer side 80 pixels.
        points: float32 [points, 2] in patch pixels, measured from the patch's top left corner;
            NaN for a point that is not annotated.
    """

    image: Image.Image
    points: NDArray[np.float32]
    weight: float = 1.0
    """How often the face is shown, against one of 300-W."""


def make_patch(photo: Photo, index: int, weight: float = 1.0) -> FacePatch:
    """Cut the stored patch of a photo's face; the border of the photo is repeated outwards."""
    x1, y1, x2, y2 = (float(value) for value in photo.boxes[index])
    side = max(x2 - x1, y2 - y1) * PATCH_SIZE / PATCH_FACE
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    over = (left + side - photo.image.width, top + side - photo.image.height)
    pad = math.ceil(max(0, -left, -top, *over)) + 1
    pixels = np.pad(np.asarray(photo.image.convert("L")), pad, mode="edge")
    box = (left + pad, top + pad, left + side + pad, top + side + pad)
    image = Image.fromarray(pixels).resize(
        (PATCH_SIZE, PATCH_SIZE), Image.Resampling.BILINEAR, box=box
    )
    points = (photo.points[index] - [left, top]) * (PATCH_SIZE / side)
    return FacePatch(image, points.astype(np.float32), weight)


def load_patches(data: Path, point_count: int = POINT_COUNT) -> list[FacePatch]:
    """Read every training face of 68, 80 or 104 points; a wrong one is named and left out.

    The folder is that of the face sets (of the training portraits and the photos of several
    faces), or any other of photos with ``.pts`` files.

    Raises:
        DataError: No face is left.
    """
    folders = [folder for name in TRAINING_FOLDERS if (folder := data / name).is_dir()] or [data]
    wrong: list[DataError] = []
    patches = []
    for folder in folders:
        for photo in pts_photos(folder, False, point_count, wrong.append):
            patches += [make_patch(photo, index) for index in range(len(photo.points))]
    if (data / FRAME_FOLDER).is_dir():
        for photo in frames(data, point_count, False, wrong.append):
            faces = range(len(photo.points))
            patches += [make_patch(photo, index, FRAME_WEIGHT) for index in faces]
    for error in wrong:
        LOGGER.warning("left out: %s", error)
    LOGGER.info("%d faces to train on, %d files left out", len(patches), len(wrong))
    if not patches:
        raise DataError(data, "contains no face to train on")
    return patches


def warp(patch: FacePatch, rng: np.random.Generator) -> tuple[Image.Image, NDArray[np.float32]]:
    """Cut an 80x80 crop, turned, shifted, scaled and stretched at random.

    The points are in crop pixels from its top left corner, the rule by which the kit maps points
    back to the photo: float32 [points, 2].
    """
    angle = math.radians(float(rng.normal(0, 12) if rng.random() < 0.8 else rng.uniform(-45, 45)))
    stretch = float(np.exp(rng.normal(0, 0.06)))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forward = np.diag([stretch, 1 / stretch]) @ turn
    if rng.random() < 0.5:
        forward[0] *= -1
    middle = PATCH_SIZE / 2
    # The crop that is served is the square of the turned face's own box, as a detector finds it.
    box = face_box((patch.points - middle) @ forward.T)
    side = (box[2:] - box[:2]).max() * np.exp(rng.normal(0, SCALE_SPREAD))
    forward *= CROP_SIDE / side
    shift = rng.normal(0, SHIFT_SPREAD, size=2) - (box[:2] + box[2:]) / 2 / side
    goal = (0.5 + shift) * CROP_SIDE
    inverse = np.linalg.inv(forward)
    corner = np.array([middle, middle]) - inverse @ goal
    coefficients = (*inverse[0], corner[0], *inverse[1], corner[1])
    image = patch.image.transform(
        (CROP_SIDE, CROP_SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    points = (patch.points - middle) @ forward.T + goal
    if np.linalg.det(forward) < 0:
        points = points[list(mirror_order(len(points)))]
    return image, points.astype(np.float32)


def _random_gray(rng: np.random.Generator) -> int:
    return int(rng.integers(0, 256))


def hide(image: Image.Image, points: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw over part of a crop: a mask over mouth and nose, dark glasses, or a rectangle.

    A mask and glasses follow points; where one of them is absent, a rectangle is drawn.
    """
    draw = ImageDraw.Draw(image)
    kind = rng.random()
    here = present(points)
    if kind < 0.4 and here[MASK_POINTS].all():
        bridge = points[27 + int(rng.integers(0, 4))]
        low = int(rng.integers(1, 4))
        outline = [tuple(point) for point in points[low : 17 - low]]
        outline.append(tuple(bridge + rng.normal(0, 1, 2)))
        draw.polygon(outline, fill=_random_gray(rng))
        if rng.random() < 0.5:
            draw.line([tuple(points[k]) for k in (3, 33, 13)], fill=_random_gray(rng))
    elif 0.4 <= kind < 0.55 and here[GLASSES_POINTS].all():
        tone = int(rng.integers(0, 80))
        for eye in (points[36:42], points[42:48]):
            middle, reach = eye.mean(axis=0), np.ptp(eye[:, 0]) * rng.uniform(0.6, 1.0) + 2
            reaches = np.array([reach, 0.75 * reach])
            draw.ellipse((*(middle - reaches), *(middle + reaches)), fill=tone)
    else:
        for _ in range(int(rng.integers(1, 3))):
            middle, half = rng.uniform(0, CROP_SIDE, 2), rng.uniform(4, 16, 2)
            draw.rectangle((*(middle - half), *(middle + half)), fill=_random_gray(rng))


def degrade(image: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change tone and sharpness of a crop, mode L; return uint8 [80, 80]."""
    drawn = rng.random()
    if drawn < 0.2:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.3, 1.5))))
    elif drawn < 0.4:
        side = int(rng.integers(20, 60))
        small = image.resize((side, side), Image.Resampling.BILINEAR)
        image = small.resize(image.size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.float32) / 255.0
    pixels = pixels ** float(np.exp(rng.normal(0, 0.3)))
    pixels = (pixels - 0.5) * float(rng.uniform(0.5, 1.25)) + 0.5 + float(rng.normal(0, 0.1))
    if rng.random() < 0.3:
        slope = rng.normal(0, 0.25, size=2)
        ramp = np.linspace(-1, 1, CROP_SIDE, dtype=np.float32)
        pixels = pixels + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    if rng.random() < 0.4:
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        pixels = pixels + float(rng.uniform(0.005, 0.06)) * noise
    result: NDArray[np.uint8] = (np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return result


class Crops(Dataset[dict[str, Tensor]]):
    """Item k is the batch of step k; nothing depends on what was drawn before."""

    def __init__(self, patches: Sequence[FacePatch], seed: int) -> None:
        self.patches, self.seed = patches, seed
        weights = np.cumsum([patch.weight for patch in patches])
        self._shares = weights / weights[-1]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return ``crops`` uint8 [32, 1, 80, 80] and ``points`` float32 [32, points, 2].

        Points are in crop pixels; NaN where not annotated.
        """
        rng = step_rng(self.seed, step)
        crops, points = [], []
        for _ in range(BATCH):
            drawn = int(np.searchsorted(self._shares, rng.random(), side="right"))
            image, marks = warp(self.patches[drawn], rng)
            if rng.random() < 0.35:
                hide(image, marks, rng)
            crops.append(degrade(image, rng)[None])
            points.append(marks)
        return {
            "crops": torch.from_numpy(np.stack(crops)),
            "points": torch.from_numpy(np.stack(points)),
        }
