"""Calls from one model to another inside the server."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from facekit.adapters.requests import (
    Array,
    Request,
    Response,
    naming_photo,
    read_tensor,
    refuse,
    respond,
    tensor,
)
from facekit.contract import CROP_SIDE, MAX_BATCH_SIZE
from facekit.errors import (
    CANNOT_BE_DECODED,
    InputError,
    PhotoError,
    ServerError,
    ServerUnavailableError,
)
from facekit.landmarks.crops import FloatArray, crop_squares, cut_crops, to_photo
from facekit.landmarks.sharpness import sharpness_of
from facekit.photos.check import CheckedPhoto
from facekit.shared_pages import drop_pages, trim_heap

GRIDS = ("output_bbox/BiasAdd", "output_cov/Sigmoid")
"""Outputs of ``facenet``: boxes and coverages."""

_PAUSES_S = (0.01, 0.1)
"""Longest waits before each retry; the wait is random, to part the photos of a failed batch."""

PHOTOS_AT_A_TIME = 4
"""Photos of one request in flight: enough to keep the models busy, few enough that the decoded
pictures of a batch of 32 are not in memory at one time."""

LARGE_PIXELS = 32_000_000
"""Photos with more pixels are processed one at a time: decoded, each takes as many bytes as it has
pixels, in several processes."""


async def call(
    model: str, inputs: Sequence[Any], outputs: Sequence[str], *, threshold: float | None = None
) -> list[Any]:
    """Run another model and return the tensors named by ``outputs``, in that order.

    ``inputs`` are Triton tensors; the outputs of one call may be the inputs of the next. A detector
    takes the least score that it is asked for, ``threshold``. Raises
    InputError if the model refuses what the caller sent, ServerUnavailableError if its backend has
    died, and ServerError if it could not answer.
    """
    request = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=list(inputs),
        parameters={} if threshold is None else {"threshold": str(threshold)},
        # NumPy reads the outputs, so a GPU model has to leave them in host memory.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
    )
    response = await request.async_exec()
    if response.has_error():
        text = response.error().message()
        if response.error().code() == pb_utils.TritonError.INVALID_ARG:
            raise InputError(text)
        if "is not healthy" in text:
            raise ServerUnavailableError(f"{model}: its backend has died; try again")
        raise ServerError(f"{model}: {text}")
    return [pb_utils.get_output_tensor_by_name(response, name) for name in outputs]


async def call_dali(
    model: str, inputs: Sequence[Any], outputs: Sequence[str], *, threshold: float | None = None
) -> list[Any]:
    """Run a model that decodes photos, as ``call`` does, and retry what failed in a batch.

    Triton merges the photos of several callers, and in its native backend one photo that DALI
    can't decode fails all of them, so the retries are apart from those neighbors. Raises PhotoError
    where it is known that DALI can't decode this photo: in the stand-in, which runs each alone.
    """
    pauses_s = iter(_PAUSES_S)
    while True:
        try:
            return await call(model, inputs, outputs, threshold=threshold)
        except ServerUnavailableError:
            raise
        except ServerError as error:
            _, undecodable, reason = str(error).partition(CANNOT_BE_DECODED)
            if undecodable:
                raise PhotoError(f"it {CANNOT_BE_DECODED}{reason}") from error
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise
            await asyncio.sleep(random.uniform(0, pause_s))


async def detect_in_frames(
    input_1: Any, true_image_size: Any, outputs: Sequence[str], *, threshold: float | None = None
) -> list[Any]:
    """Run the detector on frames of its input, and return tensors of its postprocessing.

    Args:
        input_1: Triton tensor FP32 [N, 3, 416, 736].
        true_image_size: Triton tensor INT64 [N, 3], the size of the picture in each frame.
        outputs: Names of outputs of ``facenet_postprocess``.
        threshold: Least score; None for that of its configuration.

    Raises:
        ServerError: See ``call``.
    """
    grids = await call("facenet", [input_1], GRIDS)
    drop_pages(input_1)
    inputs = [*grids, true_image_size]
    return await call("facenet_postprocess", inputs, outputs, threshold=threshold)


async def answer_all(
    requests: Sequence[Request],
    answer: Callable[[Request], Awaitable[dict[str, Array]]],
    *,
    drops: str | None = None,
) -> list[Response]:
    """Answer requests concurrently, each by itself, so that one bad request fails alone.

    ``answer`` returns the outputs of one request by name. ``drops`` is an input that may be large:
    its shared memory is released, so it can't be passed on to another model.
    """
    large = False

    async def one(request: Request) -> Response:
        nonlocal large
        try:
            if drops is not None:
                large |= drop_pages(read_tensor(request, drops))
            return respond(await answer(request))
        except Exception as error:  # the other requests must get their answers
            return refuse(error)

    responses = list(await asyncio.gather(*(one(request) for request in requests)))
    if large:
        trim_heap()
    return responses


async def each_photo(
    photos: Sequence[CheckedPhoto], answers: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Await the answers of one request's photos, a few at a time, large photos one at a time.

    Raises InputError that names the first photo that failed; photos not begun then are skipped.
    """
    room, large_room = asyncio.Semaphore(PHOTOS_AT_A_TIME), asyncio.Lock()
    failed = False

    async def one(index: int, answer: Coroutine[Any, Any, Any]) -> Any:
        nonlocal failed
        height, width, _ = photos[index].size_hwc
        large = large_room if height * width > LARGE_PIXELS else contextlib.nullcontext()
        async with large, room:
            if failed:
                answer.close()
                return None
            try:
                with naming_photo(index, len(answers)):
                    return await answer
            except BaseException:
                failed = True
                raise

    tasks = [asyncio.create_task(one(i, answer)) for i, answer in enumerate(answers)]
    return list(await asyncio.gather(*tasks))


class LandmarkCalls:
    """FPENet on the faces of a photo."""

    def __init__(self) -> None:
        self._point_count = 0  # not known yet

    async def estimate(
        self, gray: Array, boxes_xyxy: Array, *, size_wh: tuple[int, int], scale: int = 1
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Estimate the landmarks of all faces of a photo, in batches as large as FPENet takes.

        ``gray`` is uint8 (H, W), the upright photo, its sides divided by ``scale``; boxes are
        (N, 4) in pixels of the upright photo, whose width and height are ``size_wh``. Returns
        float32 (N, K, 2) in these pixels, their scores, float32 (N, K), and how sharp the faces
        are, float32 (N,). Raises BoxError as ``facekit.landmarks.crops.crop_squares`` does.
        """
        squares = crop_squares(boxes_xyxy, size_wh=size_wh)
        if not len(squares):
            count = await self._points()
            points, peaks = np.empty((0, count, 2), np.float32), np.empty((0, count), np.float32)
            return points, peaks, np.empty(0, np.float32)
        crops = cut_crops(gray, squares / np.float32(scale))
        starts = range(0, len(crops), MAX_BATCH_SIZE)
        parts = [await self._run(crops[start : start + MAX_BATCH_SIZE]) for start in starts]
        points, peaks = map(np.concatenate, zip(*parts, strict=True))
        return to_photo(points, squares), peaks, sharpness_of(crops)

    async def _run(self, crops: FloatArray) -> tuple[FloatArray, FloatArray]:
        points, peaks = await call(
            "fpenet", [tensor("input_face_images", crops)], ["softargmax", "softargmax:1"]
        )
        self._point_count = points.as_numpy().shape[1]
        return points.as_numpy(), peaks.as_numpy()

    async def _points(self) -> int:
        """Return how many points FPENet gives: 68, 80 or 104; a run on a blank face tells."""
        if not self._point_count:
            await self._run(np.zeros((1, 1, CROP_SIDE, CROP_SIDE), np.float32))
        return self._point_count
