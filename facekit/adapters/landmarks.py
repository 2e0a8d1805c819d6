"""``landmarks``: photos and boxes in, landmarks out, each photo decoded once."""

from __future__ import annotations

import numpy as np

from facekit.adapters.calls import LandmarkCalls, answer_all, each_photo
from facekit.adapters.faces import gray_picture
from facekit.adapters.photo_check import check_batch
from facekit.adapters.photo_reduce import read_reduced_decode
from facekit.adapters.requests import Array, ModelFiles, Request, Response, read
from facekit.errors import BoxError
from facekit.landmarks.crops import FloatArray, check_boxes
from facekit.limits import MAX_BATCH_PIXELS, MAX_BOXES
from facekit.photos.check import CheckedPhoto
from facekit.photos.reduced import reduction_for_faces


class TritonPythonModel:
    """Landmarks of the caller's own boxes."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read whether large JPEGs are decoded smaller.

        Raises:
            ConfigError: See ``read_reduced_decode``.
        """
        self._reduces = read_reduced_decode(ModelFiles(args)) is not None
        self._landmarks = LandmarkCalls()

    async def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return await answer_all(requests, self._answer, drops="image")

    async def _answer(self, request: Request) -> dict[str, Array]:
        boxes = read(request, "boxes")
        if boxes.shape[1] > MAX_BOXES:
            raise BoxError(
                f"{boxes.shape[1]:,} boxes in `boxes`; the limit of one photo is {MAX_BOXES:,}"
            )
        checked = check_batch(read(request, "image"), max_pixels=MAX_BATCH_PIXELS)
        found = await each_photo(
            [self._one_photo(photo, own) for photo, own in zip(checked, boxes, strict=True)],
            [photo.size_hwc[0] * photo.size_hwc[1] for photo in checked],
        )
        return {
            "keypoints": np.stack([points for points, _ in found]),
            "keypoint_scores": np.stack([peaks for _, peaks in found]),
            "image_size": np.array([photo.size_hwc for photo in checked], np.int64),
        }

    async def _one_photo(
        self, photo: CheckedPhoto, boxes_xyxy: Array
    ) -> tuple[FloatArray, FloatArray]:
        # Before the decode, so that wrong boxes cost none.
        height, width, _ = photo.size_hwc
        check_boxes(boxes_xyxy, size_wh=(width, height))
        scale = reduction_for_faces(photo, boxes_xyxy) if self._reduces else 1
        picture = await gray_picture(photo, scale)
        return await self._landmarks.estimate(
            picture, boxes_xyxy, size_wh=(width, height), scale=scale
        )
