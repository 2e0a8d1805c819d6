"""The calls that both clients make: what is sent to which model, and how its answer is read.

A call is built from the tensor contract, sent by either client, and its answer checked against the
contract again, since nothing says that the far end is a server of this kit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput

from facekit.contract import MODELS, TensorSpec
from facekit.errors import InputError, ResponseError
from facekit.faces import Faces

Array = npt.NDArray[Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request, and the way to read its answer.

    ``read`` takes tritonclient's ``InferResult`` and raises ResponseError.
    """

    model: str
    inputs: list[Any]
    outputs: list[Any]
    read: Callable[[Any], Result]


def detect_call(photo: npt.NDArray[np.uint8]) -> Call[Faces]:
    """Ask the model ``faces`` for all faces of one photo, given as encoded bytes uint8 (n,)."""
    return _call("faces", {"image": photo}, _read_faces)


def landmarks_call(
    photo: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
) -> Call[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Ask the model ``landmarks`` for the points of one photo's boxes, float32 (N, 4)."""

    def read(answer: Any) -> tuple[Array, Array]:
        points, scores = _read_points(_tensors("landmarks", answer))
        if len(points) != len(boxes_xyxy):
            raise ResponseError(f"landmarks of {len(points)} boxes for {len(boxes_xyxy)} sent")
        return points, scores

    return _call("landmarks", {"image": photo, "boxes": boxes_xyxy}, read)


def no_landmarks() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the landmarks of no boxes, without asking a server: (0, 68, 2) and (0, 68)."""
    faces = Faces.empty()
    return faces.points_xy, faces.point_scores


def _call(model: str, values: dict[str, Array], read: Callable[[Any], Result]) -> Call[Result]:
    inputs = []
    for tensor in MODELS[model].inputs:
        value = values[tensor.name][None]
        item = InferInput(tensor.name, list(value.shape), tensor.dtype)
        item.set_data_from_numpy(value)
        inputs.append(item)
    outputs = [InferRequestedOutput(tensor.name) for tensor in MODELS[model].outputs]
    return Call(model, inputs, outputs, read)


def _tensors(model: str, answer: Any) -> dict[str, Array]:
    """Return a model's outputs by name for the one photo asked about, without the batch axis."""
    return {
        tensor.name: _tensor(f"{model}: `{tensor.name}`", tensor, answer)
        for tensor in MODELS[model].outputs
    }


def _tensor(label: str, tensor: TensorSpec, answer: Any) -> Array:
    output = answer.get_output(tensor.name)
    if output is None:
        raise ResponseError(f"{label} is missing from the answer")
    # Compared before the bytes are read: each type is read in a way of its own.
    if output.datatype != tensor.dtype:
        raise ResponseError(f"{label}: expected {tensor.dtype}, got {output.datatype}")
    expected, shape = (1, *tensor.dims), tuple(output.shape)
    if len(shape) != len(expected) or any(
        got < 0 or want not in (-1, got) for want, got in zip(expected, shape, strict=True)
    ):
        raise ResponseError(f"{label}: expected shape {expected}, got {shape}")
    try:
        value = answer.as_numpy(tensor.name)
    except (ValueError, TypeError, KeyError, struct.error) as e:
        raise ResponseError(f"{label}: its bytes do not fit its shape: {e}") from e
    if not np.isfinite(value).all():
        raise ResponseError(f"{label}: holds values that are not finite")
    sample: Array = value[0]
    return sample


def _read_faces(answer: Any) -> Faces:
    tensors = _tensors("faces", answer)
    points, scores = _read_points(tensors)
    count = int(tensors["count"][0])
    height, width = (int(side) for side in tensors["image_size"][:2])
    # Rows past the count pad a batch; the client's own copies neither hold them nor share memory
    # with the message.
    if not 0 <= count <= min(len(tensors["boxes"]), len(tensors["scores"]), len(points)):
        raise ResponseError(f"faces: `count` is {count}, but `boxes` has {len(tensors['boxes'])}")
    try:
        return Faces(
            boxes_xyxy=tensors["boxes"][:count].copy(),
            scores=tensors["scores"][:count].copy(),
            points_xy=points[:count].copy(),
            point_scores=scores[:count].copy(),
            size_wh=(width, height),
        )
    except InputError as e:
        raise ResponseError(f"faces: {e}") from e


def _read_points(tensors: dict[str, Array]) -> tuple[Array, Array]:
    points, scores = tensors["keypoints"], tensors["keypoint_scores"]
    if points.shape[:2] != scores.shape:
        raise ResponseError(
            f"`keypoint_scores`: expected shape {points.shape[:2]}, got {scores.shape}"
        )
    return points.copy(), scores.copy()
