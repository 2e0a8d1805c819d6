"""``photo_check``: encoded photos in, bytes that are safe to decode out."""

from __future__ import annotations

import numpy as np

from facekit import limits
from facekit.adapters.requests import Array, Request, Response, answer_each, pad, place, read
from facekit.errors import PhotoError
from facekit.photos.check import CheckedPhoto, check_photo


def check_batch(encoded: Array) -> list[CheckedPhoto]:
    """Check the photos of one request.

    Args:
        encoded: uint8 (B, n), one photo a row, zeros behind each.

    Raises:
        PhotoError: Names the photo, and what is wrong with it.
    """
    checked: list[CheckedPhoto] = []
    pixels_left = limits.MAX_REQUEST_PIXELS
    for i, row in enumerate(encoded):
        try:
            checked.append(check_photo(row, pixels_left=pixels_left))
        except PhotoError as e:
            raise PhotoError(f"{place('photo', i, len(encoded))}: {e}") from e
        pixels_left -= checked[-1].size_hwc[0] * checked[-1].size_hwc[1]
    return checked


def check_padding(checked: list[CheckedPhoto]) -> None:
    """Refuse a batch that one large photo among small ones would blow up.

    The photos go on as one tensor, each as long as the longest, and are decoded to one tensor,
    each as wide and as high as the widest and the highest.

    Raises:
        PhotoError: Says how much the batch would take, and the limit.
    """
    taken = len(checked) * max(photo.data.nbytes for photo in checked)
    height, width, _ = np.max([photo.size_hwc for photo in checked], axis=0).tolist()
    taken = max(taken, len(checked) * height * width)
    if taken > limits.MAX_PADDED_BYTES:
        raise PhotoError(
            f"photo 1 to {len(checked)} of {len(checked)}: padded to the largest of them they take "
            f"{taken:,} bytes; the limit of one request is {limits.MAX_PADDED_BYTES:,}: send them "
            "in several requests"
        )


class TritonPythonModel:
    """See ``facekit.photos.check``."""

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Request) -> dict[str, Array]:
        checked = check_batch(read(request, "image"))
        check_padding(checked)
        return {
            "photo": pad([photo.data for photo in checked]),
            "orientation": np.array([[photo.orientation] for photo in checked], np.int32),
            "true_image_size": np.array([photo.size_hwc for photo in checked], np.int64),
        }
