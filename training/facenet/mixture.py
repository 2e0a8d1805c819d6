# mypy: allow-subclassing-any
"""The mixture of training frames, drawn step by step from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageDraw
from torch import Tensor
from torch.utils.data import Dataset

from facekit.contract import GRID_STRIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from training.detector.targets import build_targets, stack_targets
from training.facenet import scenes
from training.facenet.degrade import degrade
from training.facenet.scenes import Frame, Patch, log_uniform
from training.facesets import (
    AFW_FOLDER,
    PORTRAIT_FOLDER,
    WEBFACE_FILE,
    Photo,
    no_face_photos,
    pts_photos,
    read_webfaces,
    voc_photos,
)
from training.loop import step_rng

CROP_FRAME = (384, 224)
CROP_BATCH = 16
WHOLE_BATCH = 4
WHOLE_EVERY = 4
"""Every fourth step trains on whole 736x416 frames, the others on 384x224 crops of them."""
LARGE_FACES_FROM = 2250
"""From this step on, whole frames show large portraits more often: crops hold no such face."""
SHARES = {"crowd": 0.37, "group": 0.23, "portrait": 0.21, "empty": 0.19}
LATE_WHOLE_SHARES = {"crowd": 0.30, "group": 0.13, "portrait": 0.45, "empty": 0.12}
SMALLEST_PORTRAIT, SMALLEST_LATE_PORTRAIT = 22.0, 60.0
"""Least height of a portrait's face in pixels of the frame, in general and in late whole frames."""


@dataclass(frozen=True)
class Sources:
    """The photos to train on.

    Attributes:
        crowds: Photos with masked and unmasked faces, all annotated.
        portraits: Photos with one large annotated face; others may be in the picture.
        partial: Photos in which some faces are not annotated.
        empty: Photos without faces.
        crops: uint8 [n, 36, 36], gray face crops.
    """

    crowds: list[Photo]
    portraits: list[Photo]
    partial: list[Photo]
    empty: list[Photo]
    crops: NDArray[np.uint8]


def load_sources(data: Path) -> Sources:
    """Read every training photo into memory (about 1.3 GB)."""
    return Sources(
        list(voc_photos(data, "training")),
        list(pts_photos(data / PORTRAIT_FOLDER, complete=False)),
        list(pts_photos(data / AFW_FOLDER, complete=False)),
        list(no_face_photos(data, "training")),
        read_webfaces(data / WEBFACE_FILE),
    )


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """Draw a key with the probability that its value gives."""
    drawn = rng.random()
    for key, share in shares.items():
        drawn -= share
        if drawn < 0:
            return key
    return key


def _pick(rng: np.random.Generator, photos: list[Photo]) -> Photo:
    return photos[int(rng.integers(len(photos)))]


class Mixture(Dataset[dict[str, Tensor]]):
    """Item k is the batch of step k; nothing depends on what was drawn before."""

    def __init__(self, sources: Sources, seed: int) -> None:
        self.sources, self.seed = sources, seed

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step.

        Returns:
            ``image`` uint8 [n, 3, h, w] and the grids of ``targets.GridTargets``, stacked.
        """
        rng = step_rng(self.seed, step)
        whole = step % WHOLE_EVERY == 0
        size = (NETWORK_WIDTH, NETWORK_HEIGHT) if whole else CROP_FRAME
        images, targets = [], []
        for _ in range(WHOLE_BATCH if whole else CROP_BATCH):
            frame = self.draw(rng, size, late=whole and step >= LARGE_FACES_FROM)
            images.append(degrade(frame.image, rng))
            grid = (size[1] // GRID_STRIDE, size[0] // GRID_STRIDE)
            boxes = np.array(frame.boxes, dtype=np.float32).reshape(-1, 4)
            ignored = np.array(frame.ignored, dtype=np.float32).reshape(-1, 4)
            targets.append(build_targets(boxes, ignored, grid, frame.complete))
        return {"image": torch.from_numpy(np.stack(images)), **stack_targets(targets)}

    def draw(self, rng: np.random.Generator, size: tuple[int, int], late: bool = False) -> Frame:
        """Draw one frame, color not yet degraded; ``late`` shows large portraits more often."""
        kind = _choose(rng, LATE_WHOLE_SHARES if late else SHARES)
        if kind == "portrait":
            frame = self._portrait(rng, size, SMALLEST_LATE_PORTRAIT if late else SMALLEST_PORTRAIT)
        else:
            make = {"crowd": self._crowd, "group": self._group, "empty": self._empty}[kind]
            frame = make(rng, size)
        if rng.random() < 0.5:
            frame.mirror()
        return frame

    def _backdrop(self, rng: np.random.Generator, size: tuple[int, int]) -> Frame:
        """Return a frame of a face-free view, or of smooth tones."""
        frame = Frame(scenes.plain_background(rng, size))
        if rng.random() < 0.75:
            photo = _pick(rng, self.sources.empty)
            stretch = scenes.random_stretch(rng)
            cover = max(size[0] / photo.image.width / stretch, size[1] / photo.image.height)
            scale = cover * log_uniform(rng, 1.0, 2.0)
            scenes.paste_view(frame, photo, rng, (scale * stretch, scale))
        return frame

    def _crowd(self, rng: np.random.Generator, size: tuple[int, int]) -> Frame:
        """Return a view of a photo with masked and unmasked faces, a third with pasted ones."""
        photo = _pick(rng, self.sources.crowds)
        frame = self._backdrop(rng, size)
        width, height = photo.image.size
        zoom = log_uniform(rng, 0.45, 1.7)
        if size[0] == NETWORK_WIDTH and rng.random() < 0.5:
            zoom = 1.0
        stretch = scenes.frame_stretch(width, height) * float(np.exp(rng.normal(0, 0.12)))
        if rng.random() < 0.2:
            stretch = scenes.random_stretch(rng)
        scale_y = zoom * NETWORK_HEIGHT / height
        center = self._aim(rng, photo, size, (scale_y * stretch, scale_y))
        scenes.paste_view(frame, photo, rng, (scale_y * stretch, scale_y), center)
        if rng.random() < 0.35:
            self._scatter(rng, frame, stretch)
        return frame

    def _aim(
        self,
        rng: np.random.Generator,
        photo: Photo,
        size: tuple[int, int],
        scale: tuple[float, float],
    ) -> tuple[float, float] | None:
        """Draw a photo point near a face, so that most views show one."""
        if len(photo.boxes) == 0 or rng.random() < 0.15:
            return None
        x1, y1, x2, y2 = photo.boxes[int(rng.integers(len(photo.boxes)))]
        reach = np.array(size) / np.array(scale) * rng.uniform(-0.4, 0.4, size=2)
        return float((x1 + x2) / 2 + reach[0]), float((y1 + y2) / 2 + reach[1])

    def _patch(self, rng: np.random.Generator, height: float) -> Patch:
        """Draw something to paste: a web face, a portrait's head, sometimes no face at all."""
        drawn = rng.random()
        if drawn < 0.15:
            return self._distractor(rng)
        if drawn < (0.65 if height < 45 else 0.25):
            return scenes.webface_patch(rng, self.sources.crops)
        photos = self.sources.portraits if rng.random() < 0.8 else self.sources.partial
        return scenes.portrait_patch(rng, _pick(rng, photos))

    def _distractor(self, rng: np.random.Generator) -> Patch:
        """Draw something to paste that is no face."""
        drawn = rng.random()
        if drawn < 0.75:
            photos = self.sources.empty if drawn < 0.4 else self.sources.crowds
            patch = scenes.distractor_patch(rng, _pick(rng, photos))
            if patch is not None:
                return patch
        return scenes.shapes_patch(rng)

    def _scatter(self, rng: np.random.Generator, frame: Frame, stretch: float) -> None:
        """Paste a few faces and distractors at random places."""
        typical = log_uniform(rng, 10, 60)
        for _ in range(int(rng.integers(1, 7))):
            height = typical * float(np.exp(rng.normal(0, 0.2)))
            center = (rng.uniform(0, frame.image.width), rng.uniform(0, frame.image.height))
            patch = self._patch(rng, height)
            scenes.paste_patch(frame, patch, rng, center, height, stretch)

    def _group(self, rng: np.random.Generator, size: tuple[int, int]) -> Frame:
        """Return a made-up group photo: rows of heads over bodies, or heads scattered."""
        frame = self._backdrop(rng, size)
        stretch = scenes.random_stretch(rng)
        if rng.random() < 0.3:
            self._scatter(rng, frame, stretch)
            return frame
        typical = log_uniform(rng, 9, 70)
        rows = int(rng.integers(1, 5))
        gap_x = typical * stretch * rng.uniform(1.25, 3.2)
        gap_y = typical * rng.uniform(1.4, 3.0)
        top = rng.uniform(0.5 * typical, max(frame.image.height - rows * gap_y, typical))
        draw = ImageDraw.Draw(frame.image)
        for row in range(rows):
            x = rng.uniform(-0.5, 0.8) * gap_x
            while x < frame.image.width + 0.5 * gap_x:
                y = top + row * gap_y + rng.normal(0, 0.12) * typical
                height = typical * float(np.exp(rng.normal(0, 0.08)))
                if rng.random() < 0.85 and y < frame.image.height:
                    self._person(rng, frame, draw, (x, y), height, stretch)
                x += gap_x * float(rng.uniform(0.85, 1.25))
        return frame

    def _person(
        self,
        rng: np.random.Generator,
        frame: Frame,
        draw: ImageDraw.ImageDraw,
        center: tuple[float, float],
        height: float,
        stretch: float,
    ) -> None:
        """Draw a body and paste a head on it, unless it would hide a face."""
        x, y = center
        head = np.array([x, y, x, y]) + 0.5 * height * np.array([-stretch, -1, stretch, 1])
        if frame.overlaps(head.astype(np.float32), 0.05):
            return
        patch = self._patch(rng, height)
        tone = tuple(np.clip(rng.integers(0, 256) + rng.integers(-15, 15, 3), 0, 255).tolist())
        shoulder = height * stretch * rng.uniform(0.7, 1.2)
        body = (x - shoulder, y + 0.5 * height, x + shoulder, y + 4 * height)
        if rng.random() < 0.75:
            draw.rounded_rectangle(body, radius=0.5 * height, fill=tone)
            for known in frame.boxes:
                if (np.minimum(known[2:], body[2:]) > np.maximum(known[:2], body[:2])).all():
                    frame.ignored.append(known)
            frame.boxes = [b for b in frame.boxes if not any(b is i for i in frame.ignored)]
        scenes.paste_patch(frame, patch, rng, center, height, stretch, allow_overlap=True)

    def _portrait(self, rng: np.random.Generator, size: tuple[int, int], smallest: float) -> Frame:
        """Return a view of a photo with annotated points: a face of any size up to the frame."""
        partial = rng.random() < 0.25
        photo = _pick(rng, self.sources.partial if partial else self.sources.portraits)
        frame = self._backdrop(rng, size)
        frame.complete = photo.complete
        index = int(rng.integers(len(photo.boxes)))
        x1, y1, x2, y2 = photo.boxes[index]
        stretch = scenes.random_stretch(rng)
        height = log_uniform(rng, smallest, 0.95 * size[1])
        scale_y = height / float(y2 - y1)
        scale = (scale_y * stretch, scale_y)
        center = self._aim(rng, photo, size, scale)
        if height > 0.4 * size[1]:
            reach = np.array(size) / np.array(scale) * rng.uniform(-0.15, 0.15, size=2)
            center = (float((x1 + x2) / 2 + reach[0]), float((y1 + y2) / 2 + reach[1]))
        scenes.paste_view(frame, photo, rng, scale, center)
        return frame

    def _empty(self, rng: np.random.Generator, size: tuple[int, int]) -> Frame:
        """Return a face-free view at any zoom, often with pasted face-free patches."""
        frame = Frame(scenes.plain_background(rng, size))
        photo = _pick(rng, self.sources.empty)
        stretch = scenes.frame_stretch(*photo.image.size) * float(np.exp(rng.normal(0, 0.15)))
        scale = NETWORK_HEIGHT / photo.image.height * log_uniform(rng, 0.4, 1.8)
        scenes.paste_view(frame, photo, rng, (scale * stretch, scale))
        for _ in range(int(rng.integers(0, 5))):
            patch = self._distractor(rng)
            center = (rng.uniform(0, size[0]), rng.uniform(0, size[1]))
            scenes.paste_patch(frame, patch, rng, center, log_uniform(rng, 10, 120), stretch)
        return frame
