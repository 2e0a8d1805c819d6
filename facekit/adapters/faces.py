"""``faces``: photos in; boxes, landmarks and their scores out."""

from typing import Any

import numpy as np

from facekit.adapters.calls import LandmarkCalls, answer_all, call_dali, each_photo
from facekit.adapters.closer import CloserLook, Found
from facekit.adapters.photo_check import check_batch, largest_hw, placement
from facekit.adapters.photo_reduce import REDUCED_DECODE, read_color
from facekit.adapters.requests import (
    Array,
    ModelFiles,
    Request,
    Response,
    pad,
    read,
    read_parameters,
    tensor,
)
from facekit.detection.search import Search
from facekit.detection.tiling import VISIBLE_SIDE
from facekit.landmarks.crops import FloatArray
from facekit.limits import MAX_BATCH_PIXELS
from facekit.photos.check import CheckedPhoto
from facekit.photos.frames import points_turned_back, turned_back, turned_size
from facekit.photos.reduced import (
    reduce,
    reduction_for,
    reduction_for_faces,
    reduction_for_network,
    upright_picture,
)

TILE_COLOR = "tile_color"
"""Parameter of the color in which tiles are cut: ``gray`` or ``rgb``, what FaceNet is fed."""

_DETECTIONS = ("gray", "true_boxes", "true_proba")
_LANDMARKS = ("keypoints", "keypoint_scores", "sharpness")


class PhotoModel:
    """A model that estimates landmarks in photos.

    Large JPEGs are decoded smaller in ``color``; with None none are.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration; see ``read_color`` for its errors."""
        self.color = read_color(ModelFiles(args), REDUCED_DECODE)
        self.landmarks = LandmarkCalls()

    async def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return await answer_all(requests, self.answer, drops="image")

    async def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        raise NotImplementedError


class _View:
    """The decoded picture of a photo, decoded again only where a finer one is needed.

    Args:
        photo: The photo.
        gray: uint8 (H, W), its upright picture.
        scale: What its sides were divided by.
    """

    def __init__(self, photo: CheckedPhoto, gray: Array, scale: int) -> None:
        self._photo, self.gray, self.scale = photo, gray, scale
        self._colors, self._colors_scale = gray, 0

    async def gray_for(self, scale: float) -> Array:
        """Return the gray picture, its sides divided by no more than ``scale``."""
        if self.scale > max(scale, 1):
            self.scale = reduction_for(self._photo, scale)
            self.gray = await gray_picture(self._photo, self.scale)
        return self.gray

    async def colors_for(self, scale: float) -> Array:
        """Return the picture in RGB, its sides divided by no more than ``scale``."""
        if not self._colors_scale or self._colors_scale > max(scale, 1):
            self._colors_scale = reduction_for(self._photo, scale)
            self._colors = np.asarray(upright_picture(self._photo, self._colors_scale, "rgb"))
        return self._colors


class TritonPythonModel(PhotoModel):
    """Detection and landmarks in one call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration; see ``read_color`` for its errors."""
        super().initialize(args)
        self._tile_color = read_color(ModelFiles(args), TILE_COLOR) or "gray"

    async def answer(self, request: Request) -> dict[str, Array]:
        """Return the requested outputs of one request."""
        search = Search.parse(read_parameters(request))
        wanted = set(request.requested_output_names())
        image = read(request, "image")
        search.check_photos(len(image))
        checked = check_batch(image, max_pixels=MAX_BATCH_PIXELS)
        # Who asks for boxes alone does not wait for landmarks.
        estimated = not wanted.isdisjoint(_LANDMARKS)
        answers = [self._one_photo(photo, search, estimated) for photo in checked]
        found = await each_photo(checked, answers)
        boxes, scores, points, peaks, sharpness, least = zip(*found, strict=True)
        outputs = {
            "boxes": pad(boxes),
            "scores": pad(scores),
            "keypoints": pad(points),
            "keypoint_scores": pad(peaks),
            "image_size": np.array([photo.size_hwc for photo in checked], np.int64),
            "count": np.array([[len(one)] for one in boxes], np.int32),
            "sharpness": pad(sharpness),
            "least_side": np.array(least, np.float32)[:, None],
        }
        return {name: array for name, array in outputs.items() if name in wanted}

    async def _one_photo(
        self, photo: CheckedPhoto, search: Search, estimated: bool
    ) -> tuple[Any, ...]:
        scale = reduction_for_network(photo) if self.color else 1
        inputs = [
            *photo_tensors(photo, scale, self.color),
            tensor("true_image_size", np.array([photo.size_hwc], np.int64)),
        ]
        gray, boxes, scores = await call_dali(
            "faces_detect", inputs, _DETECTIONS, threshold=search.threshold
        )
        height, width, _ = photo.size_hwc
        size_wh = width, height
        view = _View(photo, upright_gray(photo, scale, gray), scale)
        finds = [Found.in_whole(boxes.as_numpy()[0], scores.as_numpy()[0, :, 0], size_wh)]
        if search.tile_counts or search.rotations_deg:
            picture_of = view.gray_for if self._tile_color == "gray" else view.colors_for
            finds = await CloserLook(size_wh, picture_of, search).find(finds[0])
        boxes_xyxy = np.concatenate(
            [turned_back(each.boxes_xyxy, size_wh, each.rotation_deg) for each in finds]
        )
        if estimated:
            if view.scale > 1:
                # The faces may be too small in the picture that was large enough for the detector.
                await view.gray_for(reduction_for_faces(photo, boxes_xyxy))
            parts = [await self._points(view, each, size_wh) for each in finds]
            points, peaks, sharpness = map(np.concatenate, zip(*parts, strict=True))
        else:
            points = np.empty((len(boxes_xyxy), 0, 2), np.float32)
            peaks, sharpness = points[:, :, 0], np.empty(len(boxes_xyxy), np.float32)
        scores = np.concatenate([each.scores for each in finds])
        best = np.argsort(-scores, kind="stable")
        least = VISIBLE_SIDE * min(each.shrink for each in finds)
        return boxes_xyxy[best], scores[best], points[best], peaks[best], sharpness[best], least

    async def _points(
        self, view: _View, found: Found, size_wh: tuple[int, int]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what ``estimate`` does of the faces of one angle, in pixels of the photo."""
        points, peaks, sharpness = await self.landmarks.estimate(
            np.rot90(view.gray, found.rotation_deg // 90),
            found.boxes_xyxy,
            size_wh=turned_size(size_wh, found.rotation_deg),
            scale=view.scale,
        )
        return points_turned_back(points, size_wh, found.rotation_deg), peaks, sharpness


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
