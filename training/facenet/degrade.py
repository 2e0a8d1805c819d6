"""Photometric changes of frames: color, tone, blur, grain, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

_GRAIN = np.random.default_rng(7).standard_normal((640, 1024), dtype=np.float32)
_COARSE = np.asarray(
    Image.fromarray(_GRAIN[:320, :512]).resize((1024, 640), Image.Resampling.BILINEAR)
)


def _tone(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random tone curve as a table of 256 values: gamma, contrast, brightness."""
    ramp = np.linspace(0.0, 1.0, 256) ** np.exp(rng.normal(0.0, 0.3))
    if rng.random() < 0.3:
        low, high = rng.uniform(0.0, 0.35), rng.uniform(0.6, 1.0)
    else:
        low, high = rng.uniform(-0.15, 0.12), rng.uniform(0.85, 1.15)
    curve: NDArray[np.uint8] = (np.clip(low + (high - low) * ramp, 0, 1) * 255).astype(np.uint8)
    return curve


def _grain(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Return unit-variance noise [height, width], fine or coarse."""
    pool = _COARSE if rng.random() < 0.4 else _GRAIN
    top = int(rng.integers(0, pool.shape[0] - height + 1))
    left = int(rng.integers(0, pool.shape[1] - width + 1))
    noise = pool[top : top + height, left : left + width]
    return noise[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]


def _soften(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur by a small kernel, or scale down and up as a low-resolution original would be."""
    if rng.random() < 0.5:
        return image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.3, 1.3))))
    factor = rng.uniform(1.2, 2.2)
    small = (max(8, int(image.width / factor)), max(8, int(image.height / factor)))
    method = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
    return image.resize(small, Image.Resampling.BILINEAR).resize(image.size, method)


def degrade(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a changed copy of a frame of mode L or RGB; a third look like an old photo."""
    old = rng.random() < 0.35
    gains = np.ones(1)
    if image.mode == "RGB":
        # A tenth are gray: as a server with gray photos, and old ones, would give them.
        saturation = 0.0 if rng.random() < 0.1 else rng.uniform(0.4, 1.5)
        image = ImageEnhance.Color(image).enhance(saturation)
        gains = np.exp(rng.normal(0, 0.07 * (saturation > 0), 3))
    if rng.random() < (0.6 if old else 0.15):
        image = _soften(image, rng)
    if rng.random() < 0.8:
        curve = np.minimum(gains[:, None] * _tone(rng), 255)
        image = image.point(curve.astype(int).ravel().tolist())
    if rng.random() < (0.7 if old else 0.2):
        strength = np.float32(rng.uniform(2.0, 16.0 if old else 7.0))
        grain = strength * _grain(rng, image.height, image.width)
        pixels = (np.asarray(image).T + grain.T).T
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        image = Image.open(buffer)
    return image
