"""``photo_check``: encoded photos in, bytes that are safe to decode out."""

from __future__ import annotations

import numpy as np

from facekit.adapters.requests import Array, Request, Response, answer_each, pad, place, read
from facekit.errors import PhotoError
from facekit.limits import MAX_REQUEST_PIXELS
from facekit.photos.check import CheckedPhoto, check_photo


def check_batch(encoded: Array, tensor: str) -> list[CheckedPhoto]:
    """Check the photos of one request.

    Args:
        encoded: uint8 (B, n), one photo a row, zeros behind each.
        tensor: The input's name, for error texts.

    Raises:
        PhotoError: Names the photo, and what is wrong with it.
    """
    checked = []
    for i, row in enumerate(encoded):
        try:
            checked.append(check_photo(row))
        except PhotoError as e:
            raise PhotoError(f"{place('photo', i, len(encoded), tensor)}: {e}") from e
    pixels = sum(photo.size_hwc[0] * photo.size_hwc[1] for photo in checked)
    if pixels > MAX_REQUEST_PIXELS and len(checked) > 1:
        raise PhotoError(
            f"the {len(checked)} photos in `{tensor}` hold {pixels:,} pixels; the limit of one "
            f"request is {MAX_REQUEST_PIXELS:,}: send them in several requests"
        )
    return checked


class TritonPythonModel:
    """See ``facekit.photos.check``."""

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Request) -> dict[str, Array]:
        checked = check_batch(read(request, "image"), "image")
        return {
            "photo": pad([photo.data for photo in checked]),
            "orientation": np.array([[photo.orientation] for photo in checked], np.int32),
            "true_image_size": np.array([photo.size_hwc for photo in checked], np.int64),
        }
