"""``photo_check``: encoded photos in, bytes that are safe to decode out."""

import numpy as np

from facekit import limits
from facekit.adapters.requests import Array, EachRequest, Request, naming_photo, pad, read
from facekit.errors import PhotoError
from facekit.photos.check import CheckedPhoto, check_photo


def check_batch(encoded: Array, *, max_pixels: int) -> list[CheckedPhoto]:
    """Check the photos of one request: uint8 (B, n), one photo a row, zeros behind each.

    All together may have ``max_pixels``: ``MAX_REQUEST_PIXELS`` or ``MAX_BATCH_PIXELS`` of
    ``facekit.limits``. A PhotoError names the photo, and what is wrong with it.
    """
    checked: list[CheckedPhoto] = []
    pixels = 0
    for i, row in enumerate(encoded):
        with naming_photo(i, len(encoded)):
            checked.append(check_photo(row, pixels_before=pixels, max_pixels=max_pixels))
        pixels += checked[-1].size_hwc[0] * checked[-1].size_hwc[1]
    return checked


def pad_photos(photos: list[Array], *, decoded_hw: tuple[int, int] = (0, 0)) -> Array:
    """Return the photos, uint8 (n,) each, as one tensor, each as long as the longest.

    ``decoded_hw`` is what each is padded to where they are decoded to one tensor; raises PhotoError
    if that takes more than the limit.
    """
    taken = len(photos) * max(*(photo.nbytes for photo in photos), decoded_hw[0] * decoded_hw[1])
    if taken > limits.MAX_PADDED_BYTES:
        raise PhotoError(
            f"photo 1 to {len(photos)} of {len(photos)}: padded to the largest of them they take "
            f"{taken:,} bytes; the limit of one request is {limits.MAX_PADDED_BYTES:,}: send them "
            "in several requests"
        )
    return pad(photos)


def largest_hw(checked: list[CheckedPhoto]) -> tuple[int, int]:
    """Return the height and width that the decoded photos are padded to."""
    height, width = np.max([photo.size_hwc[:2] for photo in checked], axis=0).tolist()
    # DALI 1's native backend loses a last dimension of 1.
    return height, max(width, 2)


def placement(photo: CheckedPhoto, padded_hw: tuple[int, int]) -> list[int]:
    """Return the tensor ``placement`` of one photo: its orientation and the size to pad to."""
    return [photo.orientation, *padded_hw]


def orientations_and_sizes(checked: list[CheckedPhoto]) -> dict[str, Array]:
    """Return the tensors ``orientation`` and ``true_image_size`` of a request's photos."""
    return {
        "orientation": np.array([[photo.orientation] for photo in checked], np.int32),
        "true_image_size": np.array([photo.size_hwc for photo in checked], np.int64),
    }


class TritonPythonModel(EachRequest):
    """See ``facekit.photos.check``."""

    drops = "image"

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        checked = check_batch(read(request, "image"), max_pixels=limits.MAX_REQUEST_PIXELS)
        photos = [photo.data for photo in checked]
        return {
            "photo": pad_photos(photos, decoded_hw=largest_hw(checked)),
            **orientations_and_sizes(checked),
        }
