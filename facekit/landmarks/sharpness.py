"""How sharp a face is, for its size: the share of its edges that a slight blur takes away.

After Crete, Dolmière, Ladret and Nicolas, "The Blur Effect" (2007): a picture that is blurred loses
little by another blur. It is told on the crop of 80 x 80 pixels that FPENet gets, whatever the size
of the face. So a photo and a smaller copy of it agree as long as the face has 80 pixels; one of
fewer is less sharp, as it shows less. Noise counts as detail.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.errors import InputError
from facekit.landmarks.crops import FloatArray, crop_squares, cut_crops

_TAPS = 5
"""Width of the box that blurs, in pixels of the crop. On 100 portraits, each blurred by another
amount, the rank correlation with the amounts is 0.98; with the paper's 9 it is 0.95."""
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def face_sharpness(pixels: npt.NDArray[np.uint8], boxes_xyxy: npt.ArrayLike) -> FloatArray:
    """Return the sharpness of faces in a decoded photo.

    Args:
        pixels: uint8 (H, W) gray or (H, W, 3) RGB, upright.
        boxes_xyxy: (N, 4), in its pixels.

    Returns:
        float32 (N,), as :func:`sharpness_of`.

    Raises:
        BoxError: See ``facekit.landmarks.crops.crop_squares``.
        InputError: The pixels are of another dtype or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise InputError(
            f"pixels: expected uint8 (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}"
        )
    gray = pixels if pixels.ndim == 2 else np.rint(pixels @ np.array(_LUMA)).astype(np.uint8)
    height, width = gray.shape
    return sharpness_of(cut_crops(gray, crop_squares(boxes_xyxy, size_wh=(width, height))))


def sharpness_of(crops: FloatArray) -> FloatArray:
    """Return the sharpness of crops, float32 (N, 1, 80, 80) as ``cut_crops`` gives them.

    Returns:
        float32 (N,), 0 to 1, of the direction, across or down, that is less sharp; 0 where nothing
        is seen. Sharp portraits have 0.35 to 0.55.
    """
    crops = crops.reshape(len(crops), *crops.shape[-2:])
    return np.minimum(_share_lost(crops), _share_lost(crops.transpose(0, 2, 1)))


def _share_lost(crops: FloatArray) -> FloatArray:
    """Return the part of the differences down the crops that a blur along them takes away."""
    height = crops.shape[1] - _TAPS + 1
    blurred = sum(crops[:, k : k + height] for k in range(_TAPS)) / np.float32(_TAPS)
    inner = crops[:, _TAPS // 2 : _TAPS // 2 + height]
    edges, left = (np.abs(np.diff(each, axis=1)) for each in (inner, blurred))
    lost = np.maximum(edges - left, 0).sum(axis=(1, 2))
    share: FloatArray = lost / np.maximum(edges.sum(axis=(1, 2)), np.float32(1e-6))
    return share
