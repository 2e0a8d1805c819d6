"""``photo_check``: encoded photos in, bytes that are safe to decode out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from facekit import limits
from facekit.adapters.requests import (
    Array,
    ModelFiles,
    Request,
    Response,
    answer_each,
    pad,
    place,
    read,
)
from facekit.errors import ConfigError, PhotoError
from facekit.photos.check import CheckedPhoto, check_photo
from facekit.photos.reduced import COLORS, reduce_for_network

REDUCED_DECODE = "reduced_decode"
"""The parameter that has large JPEGs decoded smaller; its value is what FaceNet is fed."""


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
        with naming(i, len(encoded)):
            checked.append(check_photo(row, pixels_left=pixels_left))
        pixels_left -= checked[-1].size_hwc[0] * checked[-1].size_hwc[1]
    return checked


@contextmanager
def naming(index: int, count: int) -> Iterator[None]:
    """Name the photo in what goes wrong with it.

    Args:
        index: Its place in the request, from 0.
        count: How many photos the request has.
    """
    try:
        yield
    except PhotoError as e:
        raise PhotoError(f"{place('photo', index, count)}: {e}") from e


def pad_photos(photos: list[Array], *, decoded_hw: tuple[int, int] = (0, 0)) -> Array:
    """Return the photos as one tensor, each as long as the longest.

    Args:
        photos: uint8 (n,) each.
        decoded_hw: Height and width that each of them will be padded to once it is decoded, where
            they are decoded to one tensor.

    Raises:
        PhotoError: One large photo among small ones would blow the batch up; says how much it would
            take, and the limit.
    """
    taken = len(photos) * max(*(photo.nbytes for photo in photos), decoded_hw[0] * decoded_hw[1])
    if taken > limits.MAX_PADDED_BYTES:
        raise PhotoError(
            f"photo 1 to {len(photos)} of {len(photos)}: padded to the largest of them they take "
            f"{taken:,} bytes; the limit of one request is {limits.MAX_PADDED_BYTES:,}: send them "
            "in several requests"
        )
    return pad(photos)


def read_reduced_decode(files: ModelFiles) -> str | None:
    """Return the color in which large JPEGs are decoded smaller; None where none are.

    Raises:
        ConfigError: The parameter's value is neither ``gray`` nor ``rgb``.
    """
    color = files.parameters.get(REDUCED_DECODE)
    if color is not None and color not in COLORS:
        raise ConfigError(
            f"parameter {REDUCED_DECODE}: expected {' or '.join(COLORS)}, got {color!r}"
        )
    return color


class TritonPythonModel:
    """See ``facekit.photos.check`` and ``facekit.photos.reduced``."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read whether large JPEGs are decoded smaller.

        Raises:
            ConfigError: See ``read_reduced_decode``.
        """
        self._color = read_reduced_decode(ModelFiles(args))

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Request) -> dict[str, Array]:
        wanted = set(request.requested_output_names())
        checked = check_batch(read(request, "image"))
        outputs: dict[str, Array] = {
            "orientation": np.array([[photo.orientation] for photo in checked], np.int32),
            "true_image_size": np.array([photo.size_hwc for photo in checked], np.int64),
        }
        if "photo" in wanted:
            highest, widest = np.max([photo.size_hwc[:2] for photo in checked], axis=0).tolist()
            outputs["photo"] = pad_photos(
                [photo.data for photo in checked], decoded_hw=(highest, widest)
            )
        if "reduced_photo" in wanted:
            outputs["reduced_photo"] = self._reduced(checked, self._color)
        if "reduced_color_photo" in wanted:
            outputs["reduced_color_photo"] = self._reduced(checked, self._color and "rgb")
        return {name: array for name, array in outputs.items() if name in wanted}

    def _reduced(self, checked: list[CheckedPhoto], color: str | None) -> Array:
        """Return what a detector decodes: smaller pictures where ``color`` is given."""
        photos = [photo.data for photo in checked]
        if color is not None:
            for i, photo in enumerate(checked):
                with naming(i, len(checked)):
                    photos[i] = reduce_for_network(photo, color)
        return pad_photos(photos)
