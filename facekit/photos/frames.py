"""Fill the detector's frames with parts of a decoded picture, upright or turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH, PIXEL_RANGE
from facekit.photos.header import turn_upright, upright_boxes, upright_points, upright_size

_ORIENTATIONS = {0: 1, 90: 8, 180: 3, 270: 6}
"""The EXIF orientation that turns faces upright, by the angle at which they lie in the photo."""


def turned_size(size_wh: tuple[int, int], rotation_deg: int) -> tuple[int, int]:
    """Return width and height of a photo of which faces turned by an angle are upright."""
    return upright_size(size_wh, _ORIENTATIONS[rotation_deg])


def turned_back(
    boxes_xyxy: npt.NDArray[np.float32], size_wh: tuple[int, int], rotation_deg: int
) -> npt.NDArray[np.float32]:
    """Return boxes (N, 4) of a turned photo in pixels of the photo itself, of ``size_wh``."""
    return upright_boxes(boxes_xyxy, turned_size(size_wh, rotation_deg), _back(rotation_deg))


def points_turned_back(
    points_xy: npt.NDArray[np.float32], size_wh: tuple[int, int], rotation_deg: int
) -> npt.NDArray[np.float32]:
    """Return points (..., 2) of a turned photo in pixels of the photo itself, of ``size_wh``."""
    return upright_points(points_xy, turned_size(size_wh, rotation_deg), _back(rotation_deg))


def network_frames(
    picture: npt.NDArray[np.uint8],
    windows_xyxy: npt.NDArray[np.float64],
    size_wh: tuple[int, int],
    rotation_deg: int = 0,
) -> npt.NDArray[np.float32]:
    """Stretch parts of a photo to the network's frame, as the DALI pipelines do the whole.

    The resampling is theirs: linear, antialiased. At the edge of a part it reads the pixels beyond,
    so that neighbors show the same where they overlap.

    Args:
        picture: uint8 (H, W) gray or (H, W, 3) RGB, the upright photo, possibly decoded smaller.
        windows_xyxy: (N, 4), the parts in pixels of the photo once it is turned.
        size_wh: Width and height of the photo in pixels.
        rotation_deg: By how much the faces are turned clockwise, which is turned back.

    Returns:
        float32 (N, 3, 416, 736) in 0..1: the network's ``input_1``.
    """
    scale = np.array([picture.shape[1] / size_wh[0], picture.shape[0] / size_wh[1]] * 2)
    boxes = turned_back(windows_xyxy.astype(np.float32), size_wh, rotation_deg) * scale
    boxes = np.minimum(boxes, [picture.shape[1], picture.shape[0]] * 2)
    orientation = _ORIENTATIONS[rotation_deg]
    frame_wh = upright_size((NETWORK_WIDTH, NETWORK_HEIGHT), orientation)
    image = Image.fromarray(picture)
    frames = np.empty((len(boxes), 3, NETWORK_HEIGHT, NETWORK_WIDTH), np.float32)
    for frame, box in zip(frames, boxes.tolist(), strict=True):
        part = image.resize(frame_wh, Image.Resampling.BILINEAR, box=tuple(box))
        pixels = np.asarray(turn_upright(part, orientation), np.float32) / np.float32(PIXEL_RANGE)
        frame[:] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return frames


def _back(rotation_deg: int) -> int:
    return _ORIENTATIONS[-rotation_deg % 360]
