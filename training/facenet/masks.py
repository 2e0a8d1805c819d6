"""Masks drawn onto faces whose points are known: masked faces with labels, of many looks.

The templates are the kit's own: an outline by the 68 points, cloth of a tone with a pattern and
folds, lit as the face below it is, and straps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.facenet.photos import Points

Floats = NDArray[np.float64]
KINDS = ("surgical", "cloth", "cup", "scarf")
"""Pleated and wide; plain and wide; stiff and narrow with a seam or valve; open at the neck."""
TONES = ((185.0, 250.0, 0.1), (95.0, 185.0, 0.35), (10.0, 70.0, 0.15))
"""Ranges of gray of pale, colored, and dark cloth, and how far their colors are from gray."""
BLUE = np.array([0.75, 1.0, 1.1])
"""Tint of the usual surgical mask."""


def draw_mask(image: Image.Image, points: Points, rng: np.random.Generator) -> bool:
    """Draw a mask over mouth and nose onto an RGB photo, in place; return whether it shows.

    ``points`` are the face's 68, float32 [68, 2] in pixels of the photo. A mask that would lie
    outside the photo is not drawn.
    """
    face = points.astype(np.float64)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    right = face[16] - face[0]
    down = face[8] - face[27]
    outline = _outline(face, kind, down, rng)
    margin = 0.1 * float(np.hypot(*down)) + 2
    low = np.maximum(np.floor(outline.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(outline.max(axis=0) + margin), image.size).astype(int)
    if ((high - low) < 3).any():
        return False
    corners = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    below = image.crop(corners)
    if kind != "scarf":
        _straps(below, face - low, outline - low, rng)
    lowest, highest, spread = TONES[int(rng.integers(len(TONES)))]
    tone = rng.uniform(lowest, highest) * np.exp(rng.normal(0, spread, 3))
    if spread == TONES[0][2] and rng.random() < 0.5:
        tone *= BLUE
    alpha = _filled(outline - low, below.size)
    cloth = _cloth(below.size, face - low, right, down, kind, rng)
    blur = ImageFilter.GaussianBlur(0.12 * float(np.hypot(*down)))
    lit = np.maximum(np.asarray(below.convert("L").filter(blur), np.float64), 1.0)
    lit = (lit / max(float((lit * alpha).sum() / max(alpha.sum(), 1e-6)), 1.0)) ** rng.uniform(0, 1)
    alpha, colored = alpha[..., None], (cloth * lit)[..., None] * tone
    mixed = np.asarray(below, np.float64) * (1 - alpha) + colored.clip(0, 255) * alpha
    image.paste(Image.fromarray(mixed.round().astype(np.uint8)), corners[:2])
    return True


def _outline(face: Floats, kind: str, down: Floats, rng: np.random.Generator) -> Floats:
    """Return the corners of a mask's outline, [n, 2], clockwise from the top of its left side."""
    first = int(rng.integers(1, 4))
    jaw = face[first : 17 - first].copy()
    middle = face[30]
    if kind == "cup":
        jaw = middle + (jaw - middle) * rng.uniform(0.72, 0.95)
    else:
        jaw = middle + (jaw - middle) * rng.uniform(0.98, 1.08)
    rise = np.cos(np.linspace(-0.5, 0.5, len(jaw)) * np.pi)[:, None]
    jaw += down * rise * rng.uniform(0.0, 0.12)
    if kind == "scarf":
        jaw += down * rise**0.5 * rng.uniform(0.2, 0.7)
    top = face[27] + (face[30] - face[27]) * rng.uniform(0.2, 0.85)
    sag = down * rng.uniform(-0.02, 0.12)
    share = np.linspace(0, 1, 7)[1:-1, None]
    bow = np.sin(share * np.pi)
    from_left = top + (jaw[0] - top) * share + sag * bow
    to_right = top + (jaw[-1] - top) * share + sag * bow
    return np.concatenate([jaw, to_right[::-1], [top], from_left])


def _filled(outline: Floats, size: tuple[int, int]) -> Floats:
    """Return how far a mask covers each pixel of a part of a photo, 0..1, with soft edges."""
    fine = 4 if max(size) < 150 else 2
    canvas = Image.new("L", (size[0] * fine, size[1] * fine))
    ImageDraw.Draw(canvas).polygon([(x * fine, y * fine) for x, y in outline], fill=255)
    small = canvas.resize(size, Image.Resampling.BOX)
    soft = small.filter(ImageFilter.GaussianBlur(0.4 + max(size) / 300))
    return np.asarray(soft, np.float64) / 255


def _straps(image: Image.Image, face: Floats, outline: Floats, rng: np.random.Generator) -> None:
    """Draw straps from the corners of a mask's sides to the ears, in place."""
    if rng.random() < 0.3:
        return
    tone, width = int(rng.choice([20, 200, 240])), max(1, round(0.015 * np.ptp(face[:17, 0])))
    draw = ImageDraw.Draw(image)
    for ear, low in ((face[0], face[4]), (face[16], face[12])):
        top = outline[np.hypot(*(outline - ear).T).argmin()]
        draw.line([tuple(top), tuple(ear), tuple(low)], fill=(tone,) * 3, width=width)


def _cloth(
    size: tuple[int, int],
    face: Floats,
    right: Floats,
    down: Floats,
    kind: str,
    rng: np.random.Generator,
) -> Floats:
    """Return the brightness of the cloth at each pixel around 1, by pattern, folds and shape."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    wide, tall = max(float(np.hypot(*right)), 4.0), max(float(np.hypot(*down)), 4.0)
    away = np.stack([x, y], axis=-1) - face[30]
    across, along = away @ right / wide**2, away @ down / tall**2
    value = 1.0 + rng.uniform(-0.25, 0.25) * across - rng.uniform(0.0, 0.5) * across**2
    if kind == "surgical":
        for place in rng.uniform(0.1, 0.25) + 0.17 * np.arange(3):
            value -= rng.uniform(0.05, 0.2) * np.exp(-(((along - place) / 0.025) ** 2))
    elif kind == "cup":
        value -= rng.uniform(0.05, 0.25) * np.exp(-((across / 0.02) ** 2))
        if rng.random() < 0.4:
            valve = np.hypot(across - rng.choice([-0.15, 0.0, 0.15]), along - 0.35) < 0.1
            value *= np.where(valve, rng.uniform(0.6, 1.3), 1.0)
    if rng.random() < 0.35:
        turn, steps = rng.uniform(0, np.pi), rng.uniform(12, 70)
        wave = np.sin(steps * (across * np.cos(turn) + along * np.sin(turn)))
        if rng.random() < 0.5:
            wave = wave * np.sin(steps * (along * np.cos(turn) - across * np.sin(turn)))
        value *= 1.0 + rng.uniform(0.1, 0.6) * np.where(wave > rng.uniform(-0.3, 0.5), 1.0, -0.3)
    spots = Image.fromarray(rng.standard_normal((6, 8)).astype(np.float32))
    cloud = np.asarray(spots.resize(size, Image.Resampling.BICUBIC), np.float64)
    lively: Floats = value * (1.0 + rng.uniform(0.0, 0.12) * cloud)
    return lively
