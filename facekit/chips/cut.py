"""Cut a chip out of a photo: one interpolation, and no aliasing however much it shrinks."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from facekit.chips.geometry import MARGIN, Affine, chip_from_photo, inverse
from facekit.client.photos import PhotoLike
from facekit.draw import open_upright
from facekit.faces import Face

_REACH = 4
"""Pixels around a chip's outline that bicubic interpolation may look at, and two to spare."""


def read_chip(photo: PhotoLike, face: Face, size: int = 256, margin: float = MARGIN) -> Image.Image:
    """Return the aligned chip of one face of a photo, in RGB.

    Args:
        photo: The photo the face was found in, as for ``Client.detect``.
        face: One face with landmarks.
        size: The chip's side in pixels.
        margin: Around the landmarks, as a part of the side of the square that they fill.

    Raises:
        DegenerateFaceError: The landmarks don't tell which way is up.
        PhotoError: The photo can't be read or used.
    """
    affine = chip_from_photo(face.points_xy, face.box_xyxy, size, margin)
    return cut_chip(open_upright(photo), affine, size)


def cut_chip(image: Image.Image, affine: Affine, size: int) -> Image.Image:
    """Return the chip that an affine map cuts out of an upright photo; black beside the photo.

    Where the chip is coarser than the photo, it is drawn at twice its size, from pixels that were
    averaged in blocks first, and its own pixels are the means of four.

    Args:
        image: The upright photo.
        affine: From :func:`facekit.chips.geometry.chip_from_photo`.
        size: The chip's side in pixels.
    """
    back = inverse(affine)
    step = math.hypot(back[0, 0], back[1, 0])  # pixels of the photo to one of the chip
    finer = 2 if step > 1 else 1
    block = max(1, math.ceil(step / 2))
    corners = back[:, :2] @ np.array([[0, size, 0, size], [0, 0, size, size]]) + back[:, 2:]
    left, top, right, bottom = _part(corners, block, image.size)
    if right <= left or bottom <= top:
        return Image.new("RGB", (size, size))
    part = image.crop((left, top, right, bottom))
    if block > 1:
        part = part.reduce(block)
    back[:, 2] = (back[:, 2] - (left, top)) / block
    back[:, :2] /= block * finer
    drawn = part.transform(
        (size * finer, size * finer),
        Image.Transform.AFFINE,
        tuple(back.ravel().tolist()),
        resample=Image.Resampling.BICUBIC,
    )
    return drawn.reduce(finer) if finer > 1 else drawn


def _part(
    corners: np.ndarray[tuple[int, ...], np.dtype[np.float64]], block: int, size_wh: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the box of whole blocks around a chip's outline, hardly beyond the photo."""
    edges = []
    for values, length in zip(corners, size_wh, strict=True):
        low = max(math.floor(values.min()) - _REACH * block, 0 if block == 1 else -block)
        high = min(math.ceil(values.max()) + _REACH * block, length)
        # Beyond the photo's edge `crop` gives black, with which its last pixels are averaged.
        edges.append((low, low + max(0, -(-(high - low) // block)) * block))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
