"""Check boxes before they are sent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit import limits
from facekit.errors import BoxError
from facekit.landmarks import crops


def check_boxes(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return boxes as float32 (N, 4): left, top, right, bottom in pixels of the upright photo.

    Whether a box lies outside the photo is left to the server, which alone knows the photo's size.

    Raises:
        BoxError: Not numbers of shape (N, 4), more than ``limits.MAX_BOXES``, or a box that is not
            finite or has no area.
    """
    try:
        boxes = np.asarray(boxes_xyxy, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BoxError(f"boxes: expected numbers of shape (N, 4): {error}") from error
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"boxes: expected shape (N, 4), got {boxes.shape}")
    if len(boxes) > limits.MAX_BOXES:
        raise BoxError(f"{len(boxes):,} boxes; the limit is {limits.MAX_BOXES:,} a photo")
    crops.check_boxes(boxes)
    return boxes
