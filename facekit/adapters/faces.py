"""``faces``: photos in; boxes, landmarks and their scores out, each photo decoded once."""

from __future__ import annotations

from typing import Any

import numpy as np

from facekit.adapters.calls import GRIDS, LandmarkCalls, answer_all, call, each_photo, tensor
from facekit.adapters.photo_check import check_batch
from facekit.adapters.requests import Array, Request, Response, pad, read
from facekit.photos.check import CheckedPhoto

_DETECTIONS = ("true_boxes", "true_proba")


class TritonPythonModel:
    """Detection and landmarks in one call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start with nothing known of the landmark network."""
        self._landmarks = LandmarkCalls()

    async def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return await answer_all(requests, self._answer)

    async def _answer(self, request: Request) -> dict[str, Array]:
        checked = check_batch(read(request, "image"))
        found = await each_photo([self._one_photo(photo) for photo in checked])
        boxes, scores, points, peaks = zip(*found, strict=True)
        return {
            "boxes": pad(boxes),
            "scores": pad(scores),
            "keypoints": pad(points),
            "keypoint_scores": pad(peaks),
            "image_size": np.array([photo.size_hwc for photo in checked], np.int64),
            "count": np.array([[len(one)] for one in boxes], np.int32),
        }

    async def _one_photo(self, photo: CheckedPhoto) -> tuple[Any, ...]:
        height, width, _ = photo.size_hwc
        inputs = photo_tensors(photo)
        network_input, gray = await call("faces_preprocess", inputs, ("input_1", "gray"))
        grids = await call("facenet", [network_input], GRIDS)
        size = tensor("true_image_size", np.array([photo.size_hwc], np.int64))
        boxes, scores = await call("facenet_postprocess", [*grids, size], _DETECTIONS)
        boxes_xyxy = boxes.as_numpy()[0]
        picture = gray.as_numpy()[0, :height, :width]
        points, peaks = await self._landmarks.estimate(picture, boxes_xyxy)
        return boxes_xyxy, scores.as_numpy()[0, :, 0], points, peaks


def photo_tensors(photo: CheckedPhoto) -> list[Any]:
    """Return the inputs of a DALI model for one photo."""
    return [
        tensor("photo", photo.data[None]),
        tensor("orientation", np.array([[photo.orientation]], np.int32)),
    ]
