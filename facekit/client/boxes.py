"""Check boxes before they are sent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.errors import BoxError


def check_boxes(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return boxes as float32 (N, 4): left, top, right, bottom in pixels of the upright photo.

    Whether a box lies outside the photo is left to the server, which alone knows the photo's size:
    ``facekit.landmarks.crops.check_boxes`` says there, in the same words, what is said here.

    Raises:
        BoxError: Not numbers of shape (N, 4), more than ``limits.MAX_BOXES``, or a box that is not
            finite or has no area.
    """
    try:
        boxes = np.asarray(boxes_xyxy, dtype=np.float32)
    except (TypeError, ValueError) as e:
        raise BoxError(f"boxes: expected numbers of shape (N, 4): {e}") from e
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"boxes: expected shape (N, 4), got {boxes.shape}")
    if len(boxes) > limits.MAX_BOXES:
        raise BoxError(f"{len(boxes):,} boxes; the limit is {limits.MAX_BOXES:,} a photo")
    _refuse(boxes, ~np.isfinite(boxes).all(axis=1), "is not finite")
    inverted = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    _refuse(boxes, inverted, "is empty or inverted: x2 > x1 and y2 > y1 are needed")
    return boxes


def _refuse(boxes: npt.NDArray[np.float32], wrong: npt.NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        index = int(np.argmax(wrong))
        values = ", ".join(f"{value:g}" for value in boxes[index].tolist())
        raise BoxError(f"box {index + 1} of {len(boxes)} ({values}) {why}")
