"""Decode a large JPEG no further than the network's frame needs.

A JPEG stores 8x8 blocks of frequencies, and its decoder can leave out the high ones: the picture
comes out at a half, a quarter or an eighth of its size, for a part of the time. FaceNet looks at
736x416 pixels, so a phone's photo loses next to nothing that the network would have seen. A GPU
configuration leaves the JPEG to the GPU's decoder.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from facekit.contract import CROP_SIDE, NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.landmarks.crops import FloatArray
from facekit.photos.check import (
    CheckedPhoto,
    decode_checked,
    is_jpeg,
    naming_damage,
    open_jpeg,
    to_pnm,
)
from facekit.photos.header import turn_upright

OVERSAMPLING = 2.0
"""Least side of the reduced picture over the frame's. With 1.25, a quarter of 4032x3024, 10 % of
the boxes move by more than half a pixel of the frame; with 2 it is 2 %."""

MIN_FACE_SIDE = 1.25 * CROP_SIDE
"""Least longer side of a face in the reduced picture, in its pixels: with it no landmark of 95 % of
the faces moves by more than 1 % of the distance of the eyes."""

MAX_DECODED_BYTES = (1 << 29) - 1
"""Of one picture as DALI's decoder for CPUs returns it since DALI 1.35, colors three a pixel."""

_SCALES = (8, 4, 2)
_MODES = {"gray": "L", "rgb": "RGB"}
COLORS = tuple(_MODES)
"""What a network may be fed."""


def reduce_for_network(photo: CheckedPhoto, color: str) -> npt.NDArray[np.uint8]:
    """Return what FaceNet's preprocessing should decode: a large JPEG as a smaller picture.

    The color ``gray`` or ``rgb`` is what the network is fed. The result, uint8 (n,), is an
    uncompressed PNM of the stored pixels at a half, a quarter or an eighth of their size, or
    ``photo.data`` itself where nothing is saved. Raises PhotoError if coded pixels are damaged.
    """
    return reduce(photo, reduction_for_network(photo), color)


def reduce(photo: CheckedPhoto, scale: int, color: str) -> npt.NDArray[np.uint8]:
    """Return a photo decoded at 1/``scale`` of its size as a PNM; with scale 1 its data as is.

    Raises PhotoError if the coded pixels are damaged.
    """
    return photo.data if scale == 1 else to_pnm(decode_reduced(photo, scale, color))


def _reduction(photo: CheckedPhoto, least_wh: tuple[float, float]) -> int:
    """Return 8, 4, 2, or 1: the largest that keeps an upright width and height; 1 for no JPEG."""
    if not is_jpeg(photo):
        return 1
    height, width, _ = photo.size_hwc
    spare = min(width / least_wh[0], height / least_wh[1], width, height)
    # The decoder reduces stored pixels from their first corner. Where turning moves that corner,
    # only a scale that leaves no part of a pixel over keeps every point in its place.
    turned = photo.orientation != 1
    fitting = (k for k in _SCALES if k <= spare and not (turned and (width % k or height % k)))
    return next(fitting, 1)


def reduction_for_network(photo: CheckedPhoto) -> int:
    """Return by how much a photo may be decoded smaller for FaceNet: 8, 4, 2 or 1."""
    return _reduction(photo, (OVERSAMPLING * NETWORK_WIDTH, OVERSAMPLING * NETWORK_HEIGHT))


def reduction_for_faces(photo: CheckedPhoto, boxes_xyxy: FloatArray) -> int:
    """Return by how much a photo may be decoded smaller for FPENet's crops: 8, 4, 2 or 1.

    The smallest face decides; its box is one of (N, 4) in pixels of the upright photo.
    """
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1, initial=0)
    height, width, _ = photo.size_hwc
    # Without a face any picture will do.
    least = MIN_FACE_SIDE / max(float(sides.min()), 1.0) if len(sides) else 0.01
    return _reduction(photo, (least * width, least * height))


def reduction_for(photo: CheckedPhoto, scale: float) -> int:
    """Return by how much a photo may be decoded smaller, but no more than ``scale``: 8, 4, 2, 1."""
    height, width, _ = photo.size_hwc
    return _reduction(photo, (width / scale, height / scale))


def upright_picture(photo: CheckedPhoto, scale: int, color: str) -> Image.Image:
    """Decode a checked photo at 1/``scale`` of its size, and turn it upright.

    Raises:
        PhotoError: The coded pixels are damaged.
    """
    if scale == 1:
        return decode_checked(photo).convert(_MODES[color])
    return turn_upright(decode_reduced(photo, scale, color), photo.orientation)


def decode_reduced(photo: CheckedPhoto, scale: int, color: str) -> Image.Image:
    """Decode a checked JPEG at 1/2, 1/4 or 1/8 of its size, its stored pixels as they lie.

    Raises PhotoError if the coded pixels are damaged.
    """
    with naming_damage():
        image = open_jpeg(photo.data.tobytes())
        stored_wh = image.size
        image.draft(_MODES[color], (image.width // scale, image.height // scale))
        image.load()
        picture: Image.Image = image.convert(_MODES[color])
    # The last column and row may hold less than half a pixel of the photo: left out then, so that
    # the picture's sides differ by half a pixel at most from the photo's over ``scale``.
    nearest_wh = (math.floor(stored_wh[0] / scale + 0.5), math.floor(stored_wh[1] / scale + 0.5))
    return picture if picture.size == nearest_wh else picture.crop((0, 0, *nearest_wh))
