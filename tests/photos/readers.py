"""Other programs' reading of a photo: Pillow's, as its own manual has it, and libvips'."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageOps

Picture = NDArray[np.float64]


def by_pillow(data: bytes) -> Picture | None:
    """Read upright, 16 bits cut to 8, over white; (H, W, 3), or None where it can't."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
            if image.mode.startswith("I"):
                return np.repeat(np.asarray(image)[..., None] >> 8, 3, axis=2).astype(float)
            if image.has_transparency_data:
                layer = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            return np.asarray(image.convert("RGB"), float)
    except Exception:  # of many kinds
        return None


def by_libvips(data: bytes) -> Picture | None:
    """Read upright in sRGB, over white; (H, W, 3), or None where it can't."""
    try:
        image = pyvips.Image.new_from_buffer(data, "").autorot().colourspace("srgb")
        if image.hasalpha():
            image = image.flatten(background=255)
        pixels = image.cast("uchar").numpy()
    except pyvips.Error:
        return None
    return np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3)) * 1.0
