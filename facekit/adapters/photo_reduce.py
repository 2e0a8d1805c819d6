"""``photo_reduce``: encoded photos in, what the steps of an ensemble should decode out."""

from __future__ import annotations

import numpy as np

from facekit.adapters.photo_check import (
    check_batch,
    largest_hw,
    naming,
    orientations_and_sizes,
    pad_photos,
    placement,
)
from facekit.adapters.requests import Array, ModelFiles, Request, Response, answer_each, read
from facekit.errors import ConfigError
from facekit.photos.check import CheckedPhoto
from facekit.photos.reduced import COLORS, reduce_for_network

REDUCED_DECODE = "reduced_decode"
"""The parameter that has large JPEGs decoded smaller; its value is what FaceNet is fed."""


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
        color = read_reduced_decode(ModelFiles(args))
        # What each output is decoded to; the mask detector is always fed colors.
        self._colors = {"reduced_photo": color, "reduced_color_photo": color and "rgb"}

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return answer_each(requests, self._answer, drops="image")

    def _answer(self, request: Request) -> dict[str, Array]:
        checked = check_batch(read(request, "image"))
        # An ensemble asks for one of the two pictures, and the other would cost a decode.
        wanted = set(request.requested_output_names())
        outputs = orientations_and_sizes(checked)
        padded_hw = largest_hw(checked)
        outputs["placement"] = np.array([placement(one, padded_hw) for one in checked], np.int32)
        if "photo" in wanted:
            photos = [photo.data for photo in checked]
            outputs["photo"] = pad_photos(photos, decoded_hw=padded_hw)
        for name, color in self._colors.items():
            if name in wanted:
                outputs[name] = pad_photos(_reduced(checked, color))
        return {name: array for name, array in outputs.items() if name in wanted}


def _reduced(checked: list[CheckedPhoto], color: str | None) -> list[Array]:
    photos: list[Array] = [photo.data for photo in checked]
    if color is not None:
        for i, photo in enumerate(checked):
            with naming(i, len(checked)):
                photos[i] = reduce_for_network(photo, color)
    return photos
