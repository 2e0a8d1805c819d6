"""Training frames: views of photos, and group photos put together from faces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from training.facesets import CROP_FACE_BOX, CROP_SIZE, Photo

SMALLEST_FACE = 7.0
"""Faces lower than this, in frame pixels, are ignored."""
KEPT_SHARE = 0.5
"""A face cut by the frame counts while this share of its box is visible."""
PHOTO_ASPECTS = (16 / 9, 3 / 2, 4 / 3, 4 / 3, 1.2, 1.0, 3 / 4, 2 / 3)
FRAME_ASPECT = NETWORK_WIDTH / NETWORK_HEIGHT


@dataclass
class Frame:
    """A training frame before its photometric changes.

    Attributes:
        image: Mode RGB.
        boxes: x1, y1, x2, y2 of every face, in frame pixels.
        ignored: Regions that are neither face nor background.
        complete: False where faces may be unannotated.
    """

    image: Image.Image
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    ignored: list[NDArray[np.float32]] = field(default_factory=list)
    complete: bool = True

    def add(self, box: NDArray[np.float32]) -> None:
        """Add a face: clipped to the frame, or ignored if too little or too small."""
        limit = np.array([*self.image.size, *self.image.size], dtype=np.float32)
        inner = np.clip(box, 0, limit)
        area = float((box[2] - box[0]) * (box[3] - box[1]))
        visible = float(max(inner[2] - inner[0], 0) * max(inner[3] - inner[1], 0))
        if visible <= 0:
            return
        if visible < KEPT_SHARE * area or inner[3] - inner[1] < SMALLEST_FACE:
            self.ignored.append(inner)
        else:
            self.boxes.append(inner)

    def overlaps(self, box: NDArray[np.float32], margin: float = 0.0) -> bool:
        """Return whether a box, grown by ``margin`` of its size, meets a known face."""
        grow = margin * (box[2:] - box[:2])
        low, high = box[:2] - grow, box[2:] + grow
        return any(
            bool((np.minimum(high, known[2:]) > np.maximum(low, known[:2])).all())
            for known in (*self.boxes, *self.ignored)
        )

    def mirror(self) -> None:
        """Swap left and right."""
        self.image = self.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        width = self.image.width
        for boxes in (self.boxes, self.ignored):
            for index, (x1, y1, x2, y2) in enumerate(boxes):
                boxes[index] = np.array([width - x2, y1, width - x1, y2], dtype=np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def random_stretch(rng: np.random.Generator) -> float:
    """Draw how much wider than high a pixel becomes when a photo is squeezed to the frame."""
    return FRAME_ASPECT / float(rng.choice(PHOTO_ASPECTS)) * float(np.exp(rng.normal(0, 0.08)))


def frame_stretch(width: int, height: int) -> float:
    """Return how much wider than high a pixel of a photo becomes in the network frame."""
    return FRAME_ASPECT / (width / height)


def plain_background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a smooth random backdrop of a few coarse tones."""
    cells = rng.integers(0, 256, size=1) + rng.integers(-60, 60, size=(3, 4, 3))
    if rng.random() < 0.5:
        cells = cells[:1, :1]
    coarse = Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def paste_view(
    frame: Frame,
    photo: Photo,
    rng: np.random.Generator,
    scale: tuple[float, float],
    center: tuple[float, float] | None = None,
) -> None:
    """Paste a scaled part of a photo over the frame, where it covers it, and add its faces.

    ``scale`` is in frame pixels per photo pixel, across and down; ``center`` is a point of the
    photo to keep near the middle, and is drawn if None.
    """
    origin, source, target = [], [], []
    for axis in range(2):
        length, shown = photo.image.size[axis], frame.image.size[axis] / scale[axis]
        if shown >= length:
            start = -(shown - length) * rng.random()
        else:
            middle = center[axis] if center is not None else rng.uniform(0, length)
            start = min(max(middle - shown / 2, 0.0), length - shown)
        first, last = max(start, 0.0), min(start + shown, float(length))
        origin.append(start)
        source.append((first, last))
        target.append((round((first - start) * scale[axis]), round((last - start) * scale[axis])))
    (left, right), (top, bottom) = target
    if right <= left or bottom <= top:
        return
    box = (source[0][0], source[1][0], source[0][1], source[1][1])
    part = photo.image.resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0
    )
    frame.image.paste(part, (left, top))
    shift = np.array([*origin, *origin], dtype=np.float32)
    for face in photo.boxes:
        frame.add((face - shift) * np.array([*scale, *scale], dtype=np.float32))


def feather(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return a soft-edged mask, mode L, of an ellipse, a rounded or a plain rectangle."""
    mask = Image.new("L", (32, 32), 0)
    draw = ImageDraw.Draw(mask)
    kind = rng.random()
    inset = float(rng.uniform(0.5, 3.0))
    corners = (inset, inset, 31 - inset, 31 - inset)
    if kind < 0.35:
        draw.ellipse((inset, inset - 1, 31 - inset, 34), fill=255)
    elif kind < 0.8:
        draw.rounded_rectangle(corners, radius=int(rng.integers(4, 12)), fill=255)
    else:
        return Image.new("L", size, 255)
    soft = mask.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 2.0))))
    return soft.resize(size, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Patch:
    """A picture to paste, mode L or RGB, and its face: x1, y1, x2, y2 in its pixels, or None."""

    image: Image.Image
    face: NDArray[np.float32] | None


def webface_patch(rng: np.random.Generator, crops: NDArray[np.uint8]) -> Patch:
    """Return a random web-face crop."""
    crop = crops[int(rng.integers(len(crops)))]
    return Patch(Image.fromarray(crop), np.array(CROP_FACE_BOX, dtype=np.float32))


def portrait_patch(rng: np.random.Generator, photo: Photo) -> Patch:
    """Return the head, and a random share of what surrounds it, of an annotated photo."""
    x1, y1, x2, y2 = photo.boxes[int(rng.integers(len(photo.boxes)))]
    width, height = x2 - x1, y2 - y1
    margin = rng.uniform([0.15, 0.15, 0.15, 0.05], [0.5, 0.5, 0.5, 0.7])
    left, top = max(x1 - margin[0] * width, 0), max(y1 - margin[1] * height, 0)
    right = min(x2 + margin[2] * width, photo.image.width)
    bottom = min(y2 + margin[3] * height, photo.image.height)
    image = photo.image.crop((int(left), int(top), int(right), int(bottom)))
    face = np.array([x1, y1, x2, y2]) - np.array([int(left), int(top)] * 2)
    return Patch(image, face.astype(np.float32))


def distractor_patch(rng: np.random.Generator, photo: Photo) -> Patch | None:
    """Return a random rectangle of a fully annotated photo that shows no face, if one is found."""
    for _ in range(4):
        side = log_uniform(rng, 0.08, 0.6) * min(photo.image.size)
        left = rng.uniform(0, photo.image.width - side)
        top = rng.uniform(0, photo.image.height - side)
        square = np.array([left, top, left + side, top + side], dtype=np.float32)
        low = np.maximum(photo.boxes[:, :2], square[:2])
        high = np.minimum(photo.boxes[:, 2:], square[2:])
        if not (high > low).all(axis=1).any():
            x1, y1, x2, y2 = (int(value) for value in square)
            return Patch(photo.image.crop((x1, y1, x2, y2)), None)
    return None


def shapes_patch(rng: np.random.Generator) -> Patch:
    """Return a badge of random shapes, stripes and letters, which is no face."""
    image = Image.new("RGB", (48, 48), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 9))):
        fill = tuple(rng.integers(0, 256, 3).tolist())
        ends = np.sort(rng.uniform(0, 48, size=(2, 2)), axis=0)
        corners = (*ends[0].tolist(), *ends[1].tolist())
        kind = rng.random()
        if kind < 0.35:
            draw.ellipse(corners, fill=fill)
        elif kind < 0.6:
            draw.rectangle(corners, fill=fill)
        elif kind < 0.8:
            for offset in range(0, 48, int(rng.integers(4, 12))):
                draw.line((0, offset, 48, offset + float(rng.uniform(-8, 8))), fill, 2)
        else:
            letters = "".join(chr(int(code)) for code in rng.integers(33, 127, size=4))
            draw.text((corners[0] - 12, corners[1] - 6), letters, fill=fill)
    return Patch(image, None)


def paste_patch(
    frame: Frame,
    patch: Patch,
    rng: np.random.Generator,
    center: tuple[float, float],
    height: float,
    stretch: float,
    allow_overlap: bool = False,
) -> bool:
    """Paste a patch so that its face has a given height; return whether it was pasted.

    Center and height of the face (of a web-face crop's face for a distractor) are in frame pixels;
    ``stretch`` is the width of a patch pixel over its height. It is not pasted over known faces
    unless they ``allow_overlap``.
    """
    face = patch.face
    if face is None:
        share = (CROP_FACE_BOX[3] - CROP_FACE_BOX[1]) / CROP_SIZE
        face = np.array([0, 0, patch.image.width, patch.image.height * share], dtype=np.float32)
    scale_y = height / float(face[3] - face[1])
    scale = np.array([scale_y * stretch, scale_y] * 2, dtype=np.float32)
    placed = face * scale
    corner = np.array(center) - (placed[:2] + placed[2:]) / 2
    box = (placed + np.tile(corner, 2)).astype(np.float32)
    if not allow_overlap and frame.overlaps(box, 0.15):
        return False
    wide, high = patch.image.width * scale[0], patch.image.height * scale[1]
    size = (max(2, round(wide)), max(2, round(high)))
    if size[0] > 4 * frame.image.width or size[1] > 4 * frame.image.height:
        return False
    image = patch.image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    frame.image.paste(image, (round(corner[0]), round(corner[1])), feather(rng, size))
    if patch.face is not None:
        frame.add(box)
    return True
