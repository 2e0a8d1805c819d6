"""``photo_reduce``: encoded photos in, what the other models of an ensemble decode out."""

import numpy as np

from facekit import limits
from facekit.adapters.photo_check import (
    check_batch,
    largest_hw,
    orientations_and_sizes,
    pad_photos,
    placement,
)
from facekit.adapters.requests import Array, EachRequest, ModelFiles, Request, naming_photo, read
from facekit.errors import ConfigError
from facekit.photos import reduced
from facekit.photos.check import CheckedPhoto

REDUCED_DECODE = "reduced_decode"
"""Parameter by which large JPEGs are decoded smaller; its value is the color FaceNet is fed."""


def read_color(files: ModelFiles, name: str) -> str | None:
    """Return the color that a parameter names; None where it is not set.

    Raises ConfigError if it is neither ``gray`` nor ``rgb``.
    """
    color = files.parameters.get(name)
    if color is not None and color not in reduced.COLORS:
        raise ConfigError(
            f"parameter {name}: expected {' or '.join(reduced.COLORS)}, got {color!r}"
        )
    return color


class TritonPythonModel(EachRequest):
    """See ``facekit.photos.check`` and ``facekit.photos.reduced``."""

    drops = "image"

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration; see ``read_color`` for its errors."""
        color = read_color(ModelFiles(args), REDUCED_DECODE)
        # The mask detector is always fed colors.
        self._colors = {"reduced_photo": color, "reduced_color_photo": color and "rgb"}

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        # An ensemble requests one of the two pictures; making the other would cost a decode.
        wanted = set(request.requested_output_names())
        # ``photo`` is decoded to one tensor of all pixels, the others to the network's input size.
        max_pixels = limits.MAX_REQUEST_PIXELS if "photo" in wanted else limits.MAX_BATCH_PIXELS
        checked = check_batch(read(request, "image"), max_pixels=max_pixels)
        outputs = orientations_and_sizes(checked)
        padded_hw = largest_hw(checked)
        outputs["placement"] = np.array([placement(one, padded_hw) for one in checked], np.int32)
        if "photo" in wanted:
            photos = [photo.data for photo in checked]
            outputs["photo"] = pad_photos(photos, decoded_hw=padded_hw)
        for name, color in self._colors.items():
            if name in wanted:
                outputs[name] = pad_photos(_reduced(checked, name, color))
        return {name: array for name, array in outputs.items() if name in wanted}


def _reduced(checked: list[CheckedPhoto], name: str, color: str | None) -> list[Array]:
    photos: list[Array] = []
    for i, photo in enumerate(checked):
        decoded_bytes = 3 * photo.size_hwc[0] * photo.size_hwc[1]
        too_large = name == "reduced_color_photo" and decoded_bytes > reduced.MAX_DECODED_BYTES
        with naming_photo(i, len(checked)):
            photos.append(
                reduced.reduce_for_network(photo, color or "rgb")
                if color or too_large
                else photo.data
            )
    return photos
