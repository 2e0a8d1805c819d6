"""``landmarks``: photos and boxes in, landmarks out, each photo decoded once."""

import numpy as np

from facekit.adapters.calls import each_photo
from facekit.adapters.faces import PhotoModel, gray_picture
from facekit.adapters.photo_check import check_batch
from facekit.adapters.requests import Array, Request, read
from facekit.errors import BoxError
from facekit.landmarks.crops import FloatArray, check_boxes
from facekit.limits import MAX_BATCH_PIXELS, MAX_BOXES
from facekit.photos.check import CheckedPhoto
from facekit.photos.reduced import reduction_for_faces


class TritonPythonModel(PhotoModel):
    """Landmarks of the caller's own boxes."""

    async def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        boxes = read(request, "boxes")
        if boxes.shape[1] > MAX_BOXES:
            raise BoxError(
                f"{boxes.shape[1]:,} boxes in `boxes`; the limit of one photo is {MAX_BOXES:,}"
            )
        checked = check_batch(read(request, "image"), max_pixels=MAX_BATCH_PIXELS)
        answers = [self._one_photo(photo, own) for photo, own in zip(checked, boxes, strict=True)]
        points, scores = zip(*await each_photo(checked, answers), strict=True)
        return {
            "keypoints": np.stack(points),
            "keypoint_scores": np.stack(scores),
            "image_size": np.array([photo.size_hwc for photo in checked], np.int64),
        }

    async def _one_photo(
        self, photo: CheckedPhoto, boxes_xyxy: Array
    ) -> tuple[FloatArray, FloatArray]:
        # Before the decode, so that wrong boxes cost none.
        height, width, _ = photo.size_hwc
        check_boxes(boxes_xyxy, size_wh=(width, height))
        scale = reduction_for_faces(photo, boxes_xyxy) if self.color else 1
        picture = await gray_picture(photo, scale)
        points, peaks, _ = await self.landmarks.estimate(
            picture, boxes_xyxy, size_wh=(width, height), scale=scale
        )
        return points, peaks
