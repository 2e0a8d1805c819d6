"""``faces``: photos in; boxes, landmarks and their scores out."""

from typing import Any

import numpy as np

from facekit.adapters.calls import LandmarkCalls, answer_all, call_dali, each_photo
from facekit.adapters.photo_check import check_batch, largest_hw, placement
from facekit.adapters.photo_reduce import read_reduced_decode
from facekit.adapters.requests import Array, ModelFiles, Request, Response, pad, read, tensor
from facekit.limits import MAX_BATCH_PIXELS
from facekit.photos.check import CheckedPhoto
from facekit.photos.reduced import reduce, reduction_for_faces, reduction_for_network

_DETECTIONS = ("gray", "true_boxes", "true_proba")


class PhotoModel:
    """A model that estimates landmarks in photos.

    Large JPEGs are decoded smaller in ``color``; with None none are.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration; see ``read_reduced_decode`` for its errors."""
        self.color = read_reduced_decode(ModelFiles(args))
        self.landmarks = LandmarkCalls()

    async def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return await answer_all(requests, self.answer, drops="image")

    async def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        raise NotImplementedError


class TritonPythonModel(PhotoModel):
    """Detection and landmarks in one call."""

    async def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        checked = check_batch(read(request, "image"), max_pixels=MAX_BATCH_PIXELS)
        found = await each_photo(checked, [self._one_photo(photo) for photo in checked])
        boxes, scores, points, peaks, sharpness = zip(*found, strict=True)
        return {
            "boxes": pad(boxes),
            "scores": pad(scores),
            "keypoints": pad(points),
            "keypoint_scores": pad(peaks),
            "image_size": np.array([photo.size_hwc for photo in checked], np.int64),
            "count": np.array([[len(one)] for one in boxes], np.int32),
            "sharpness": pad(sharpness),
        }

    async def _one_photo(self, photo: CheckedPhoto) -> tuple[Any, ...]:
        scale = reduction_for_network(photo) if self.color else 1
        inputs = [
            *photo_tensors(photo, scale, self.color),
            tensor("true_image_size", np.array([photo.size_hwc], np.int64)),
        ]
        gray, boxes, scores = await call_dali("faces_detect", inputs, _DETECTIONS)
        boxes_xyxy, picture = boxes.as_numpy()[0], upright_gray(photo, scale, gray)
        if scale > 1 and (finer := reduction_for_faces(photo, boxes_xyxy)) < scale:
            # The faces are too small in the picture that was large enough for the detector.
            scale, picture = finer, await gray_picture(photo, finer)
        height, width, _ = photo.size_hwc
        points, peaks, sharpness = await self.landmarks.estimate(
            picture, boxes_xyxy, size_wh=(width, height), scale=scale
        )
        return boxes_xyxy, scores.as_numpy()[0, :, 0], points, peaks, sharpness


async def gray_picture(photo: CheckedPhoto, scale: int) -> Array:
    """Return the upright gray picture of a photo, uint8 (H, W), its sides divided by ``scale``.

    Raises PhotoError if the coded pixels are damaged.
    """
    (gray,) = await call_dali("photo_gray", photo_tensors(photo, scale, "gray"), ("gray",))
    return upright_gray(photo, scale, gray)


def upright_gray(photo: CheckedPhoto, scale: int, gray: Any) -> Array:
    """Return the picture of a DALI model's ``gray``, uint8 (H, W), without its padding."""
    height, width, _ = photo.size_hwc
    picture: Array = gray.as_numpy()[0]
    return picture[:height, :width] if scale == 1 else picture


def photo_tensors(photo: CheckedPhoto, scale: int = 1, color: str | None = None) -> list[Any]:
    """Return the inputs of a DALI model for one photo.

    A ``scale`` above 1 divides its sides as it is decoded here to a ``color``, ``gray`` or ``rgb``;
    with 1 DALI decodes it. Raises PhotoError if the coded pixels are damaged.
    """
    data = reduce(photo, scale, color or "gray")
    # A smaller picture is not padded.
    padded_hw = largest_hw([photo]) if scale == 1 else (1, 2)
    return [
        tensor("photo", data[None]),
        tensor("orientation", np.array([placement(photo, padded_hw)], np.int32)),
    ]
