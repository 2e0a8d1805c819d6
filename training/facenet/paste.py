"""Pasting heads, and things that are not faces, into frames: crowds that the sets do not show.

The heads are gray web faces, which no set shows in a scene, and those of the photos.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.evaluation.class_scores import NO_CLASS
from training.facenet.photos import Boxes, Photos
from training.facesets import CROP_FACE_BOX

ASPECTS = (16 / 9, 3 / 2, 4 / 3, 1.2, 1.0, 3 / 4, 2 / 3)
"""Shapes of photos to stretch a view as, where not as its own photo's."""
FRAME_ASPECT = NETWORK_WIDTH / NETWORK_HEIGHT
OTHER_SHARE = 0.2
"""Share of the pasted things that are not faces."""
KINDS = ("portrait", "partial", "people")
"""Kinds of photos whose heads are pasted."""


@dataclass
class Frame:
    """A frame and its faces.

    Attributes:
        image: Mode L or RGB.
        boxes: x1, y1, x2, y2 of every face in frame pixels.
        ignored: Regions that neither count nor cost.
        doubtful: Regions in which faces may be unlabeled.
        sources: Indices of the photos in it, -1 for what was pasted.
        labels: Class of each face; ``NO_CLASS`` where it is not known.
    """

    image: Image.Image
    boxes: list[Boxes] = field(default_factory=list)
    ignored: list[Boxes] = field(default_factory=list)
    doubtful: list[Boxes] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def meets(self, box: Boxes) -> bool:
        """Return whether a box meets a face or an ignored region."""
        return any(
            bool((np.minimum(box[2:], other[2:]) > np.maximum(box[:2], other[:2])).all())
            for other in (*self.boxes, *self.ignored)
        )


def any_color(rng: np.random.Generator, mode: str = "RGB") -> tuple[int, ...]:
    """Draw a color for an image of mode L or RGB."""
    return tuple(rng.integers(256, size=len(mode)).tolist())


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class Paster:
    """Pastes heads of training photos and web faces, uint8 [n, 36, 36]; there may be none."""

    def __init__(self, photos: Photos, web_faces: NDArray[np.uint8]) -> None:
        self.photos, self.web_faces = photos, web_faces
        training = [sample for sample in photos.samples if sample.split == "training"]
        self.heads = [each for each in training if each.kind in KINDS and len(each.boxes)]
        self.any_head = bool(self.heads) or len(web_faces) > 0
        self.complete = [each for each in training if each.complete]

    def paste(self, rng: np.random.Generator, frame: Frame) -> None:
        """Paste rows of heads, or a few, of about 11 pixels and more, beside a frame's faces."""
        size = np.array(frame.image.size)
        height = log_uniform(rng, 11, 0.3 * size[1])
        stretch = FRAME_ASPECT / float(rng.choice(ASPECTS)) * float(np.exp(rng.normal(0, 0.08)))
        gap = height * np.array([stretch * rng.uniform(1.3, 3.2), rng.uniform(1.4, 3.0)])
        start = rng.uniform(-0.3, 0.7, 2) * gap
        columns, rows = (
            np.arange(at, end, step) for at, end, step in zip(start, size, gap, strict=True)
        )
        kept = 0.85 if rng.random() < 0.5 else min(1.0, 5 / max(1, len(columns) * len(rows)))
        bodies = rng.random() < 0.5
        for y in rows:
            for x in columns:
                center = np.array([x, y]) + rng.normal(0, 0.12, 2) * height
                if rng.random() < kept:
                    face_height = height * float(np.exp(rng.normal(0, 0.1)))
                    self._one(rng, frame, center, face_height, stretch, bodies)
        frame.sources.append(-1)

    def _one(
        self,
        rng: np.random.Generator,
        frame: Frame,
        center: NDArray[np.float64],
        height: float,
        stretch: float,
        body: bool,
    ) -> None:
        """Paste something whose face would have a center and a height, unless it hides a face."""
        is_face = rng.random() >= OTHER_SHARE and self.any_head
        image, face = self._head(rng, height) if is_face else self._other(rng)
        scale_y = height / float(face[3] - face[1])
        scale = np.array([scale_y * stretch, scale_y])
        corner = center - (face[:2] + face[2:]) / 2 * scale
        size = np.maximum(np.round(np.array(image.size) * scale), 2).astype(int)
        box = (face * np.tile(scale, 2) + np.tile(corner, 2)).astype(np.float32)
        inside = np.clip(box, 0, np.tile(frame.image.size, 2)).astype(np.float32)
        visible = (inside[2:] - inside[:2]).clip(min=0).prod() / (box[2:] - box[:2]).prod()
        shoulders = height * stretch * rng.uniform(0.7, 1.2)
        torso = [center[0] - shoulders, box[3] - 0.05 * height]
        torso += [center[0] + shoulders, box[3] + 3.5 * height]
        near = box + 0.2 * height * np.array([-stretch, -1, stretch, 1])
        if visible < 0.6 or frame.meets(near.astype(np.float32)):
            return
        if body and not frame.meets(np.array(torso, np.float32)):
            draw = ImageDraw.Draw(frame.image)
            color = any_color(rng, frame.image.mode)
            draw.rounded_rectangle(torso, radius=0.5 * height, fill=color)
        part = image.resize(tuple(size.tolist()), Image.Resampling.BILINEAR, reducing_gap=2.0)
        frame.image.paste(part, tuple(np.round(corner).astype(int).tolist()), _edge(rng, part.size))
        if is_face:
            frame.boxes.append(inside)
            frame.labels.append(NO_CLASS)

    def _head(self, rng: np.random.Generator, height: float) -> tuple[Image.Image, Boxes]:
        """Return a head and the box of its face in it."""
        if len(self.web_faces) and rng.random() < (0.6 if height < 50 else 0.3) or not self.heads:
            crop = self.web_faces[int(rng.integers(len(self.web_faces)))]
            return Image.fromarray(crop), np.array(CROP_FACE_BOX, np.float32)
        sample = self.heads[int(rng.integers(len(self.heads)))]
        face = sample.boxes[int(rng.integers(len(sample.boxes)))]
        margin = rng.uniform([0.15, 0.15, 0.15, 0.05], [0.5, 0.5, 0.5, 0.7])
        grown = face + np.tile(face[2:] - face[:2], 2) * margin * [-1, -1, 1, 1]
        around = np.round(np.clip(grown, 0, np.tile(sample.size_wh, 2))).astype(int)
        around[2:] = np.maximum(around[2:], around[:2] + 1)
        part = self.photos.image(sample).crop(tuple(around.tolist()))
        return part, (face - np.tile(around[:2], 2)).astype(np.float32)

    def _other(self, rng: np.random.Generator) -> tuple[Image.Image, Boxes]:
        """Return a badge of shapes, or a square of a photo without a face, and where it shows."""
        for _ in range(3 if self.complete else 0):
            sample = self.complete[int(rng.integers(len(self.complete)))]
            side = log_uniform(rng, 0.08, 0.6) * min(sample.size_wh)
            corner = rng.uniform(0, np.array(sample.size_wh) - side)
            square = np.array([*corner, *(corner + side)], np.float32)
            known = Frame(Image.new("L", (1, 1)), list(sample.boxes), list(sample.ignored))
            if side >= 8 and rng.random() < 0.75 and not known.meets(square):
                part = self.photos.image(sample).crop(tuple(square.astype(int).tolist()))
                return part, np.array([0, 0, *part.size], np.float32)
        badge = Image.new("RGB", (48, 48), any_color(rng))
        draw = ImageDraw.Draw(badge)
        for _ in range(int(rng.integers(2, 9))):
            ends = np.sort(rng.uniform(0, 48, (2, 2)), axis=0)
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((*ends[0], *ends[1]), fill=any_color(rng))
        return badge, np.array([0, 0, 48, 48], np.float32)


def _edge(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a mask, mode L: an ellipse or a rounded rectangle with soft edges, or all of it."""
    mask = Image.new("L", (32, 32), 0)
    draw = ImageDraw.Draw(mask)
    kind, inset = rng.random(), float(rng.uniform(0.5, 3.0))
    if kind < 0.35:
        draw.ellipse((inset, inset - 1, 31 - inset, 34), fill=255)
    elif kind < 0.8:
        corners = (inset, inset, 31 - inset, 31 - inset)
        draw.rounded_rectangle(corners, radius=int(rng.integers(4, 12)), fill=255)
    else:
        return Image.new("L", size, 255)
    soft = mask.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 2.0))))
    return soft.resize(size, Image.Resampling.BILINEAR)
