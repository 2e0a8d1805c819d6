"""The calls that both clients make: what is sent to which model, and how its answer is read.

A call is built from the tensor contract, sent by either client, and its answer checked against the
contract again, since nothing says that the far end is a server of this kit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput

from facekit.contract import CLASS_NAMES, MODELS, TensorSpec
from facekit.errors import ConfigError, InputError, ResponseError
from facekit.faces import Faces

Array = npt.NDArray[Any]
Result = TypeVar("Result")

_NO_LABELS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request, and the way to read its answer.

    ``read`` takes tritonclient's ``InferResult`` and raises ResponseError.
    """

    model: str
    inputs: list[Any]
    outputs: list[Any]
    read: Callable[[Any], Result]


def check_model(model: str) -> None:
    """Check that a model finds faces.

    Raises:
        ConfigError: It is none of those that do.
    """
    if not isinstance(model, str) or model not in DETECTORS:
        raise ConfigError(f"model: expected one of {', '.join(DETECTORS)}, got {model!r}")


def detect_call(photo: npt.NDArray[np.uint8], model: str = "faces") -> Call[Faces]:
    """Ask one of ``DETECTORS`` for all faces of one photo, given as encoded bytes uint8 (n,)."""
    (image,) = MODELS[model].inputs
    return model_call(model, {image.name: photo}, DETECTORS[model])


def landmarks_call(
    photo: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
) -> Call[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Ask the model ``landmarks`` for the points of one photo's boxes, float32 (N, 4)."""

    def read(answer: Any) -> tuple[Array, Array]:
        points, scores = _read_points(outputs_of("landmarks", answer))
        if len(points) != len(boxes_xyxy):
            raise ResponseError(f"landmarks of {len(points)} boxes for {len(boxes_xyxy)} sent")
        return points, scores

    return model_call("landmarks", {"image": photo, "boxes": boxes_xyxy}, read)


def no_landmarks() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the landmarks of no boxes, without asking a server: (0, 68, 2) and (0, 68)."""
    faces = Faces.empty()
    return faces.points_xy, faces.point_scores


def model_call(model: str, values: dict[str, Array], read: Callable[[Any], Result]) -> Call[Result]:
    """Return the request of one sample; ``values`` are a model's inputs without the batch axis."""
    inputs = []
    for tensor in MODELS[model].inputs:
        value = values[tensor.name][None]
        item = InferInput(tensor.name, list(value.shape), tensor.dtype)
        item.set_data_from_numpy(value)
        inputs.append(item)
    outputs = [InferRequestedOutput(tensor.name) for tensor in MODELS[model].outputs]
    return Call(model, inputs, outputs, read)


def outputs_of(model: str, answer: Any) -> dict[str, Array]:
    """Return a model's outputs by name for the one photo asked about, without the batch axis.

    Raises:
        ResponseError: One is missing, of another type or shape, or not finite.
    """
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
    except (ValueError, TypeError, KeyError, struct.error) as error:
        raise ResponseError(f"{label}: its bytes do not fit its shape: {error}") from error
    if not np.isfinite(value).all():
        raise ResponseError(f"{label}: holds values that are not finite")
    sample: Array = value[0]
    return sample


def _read_faces(answer: Any) -> Faces:
    tensors = outputs_of("faces", answer)
    points, point_scores = _read_points(tensors)
    number = _count("faces", tensors, "count", ("boxes", "scores", "keypoints"))
    parts = (tensors["boxes"], tensors["scores"], points, point_scores)
    return _faces("faces", number, tensors["image_size"], *parts)


def _read_boxes(answer: Any) -> Faces:
    return _ensemble_faces("facenet_ensemble", answer)


def _read_masks(answer: Any) -> Faces:
    return _ensemble_faces("facemask_ensemble", answer, CLASS_NAMES["facemask"])


DETECTORS: dict[str, Callable[[Any], Faces]] = {
    "faces": _read_faces,
    "facenet_ensemble": _read_boxes,
    "facemask_ensemble": _read_masks,
}
"""Models that find faces, and how the answer of each is read."""


def _ensemble_faces(model: str, answer: Any, class_names: tuple[str, ...] = ()) -> Faces:
    """Read the answer of a detector without landmarks; its faces have no points."""
    tensors = outputs_of(model, answer)
    boxes, scores = tensors["true_boxes"], tensors["true_proba"][:, 0]
    labels = tensors["true_labels"] if class_names else _NO_LABELS
    rows = ("true_boxes", "true_proba", *(["true_labels"] if class_names else []))
    number = _count(model, tensors, "true_count", rows)
    points = np.zeros((len(boxes), 0, 2), np.float32)
    parts = (boxes, scores, points, points[:, :, 0], labels, class_names)
    return _faces(model, number, tensors["true_image_size"], *parts)


def _count(model: str, tensors: dict[str, Array], name: str, rows: Sequence[str]) -> int:
    """Return how many faces a photo has, where every tensor of ``rows`` has a row for each."""
    number = int(tensors[name][0])
    shortest = min(rows, key=lambda row: len(tensors[row]))
    if not 0 <= number <= len(tensors[shortest]):
        length = len(tensors[shortest])
        raise ResponseError(f"{model}: `{name}` is {number}, but `{shortest}` has {length}")
    return number


def _faces(
    model: str,
    number: int,
    image_size: Array,
    boxes: Array,
    scores: Array,
    points: Array,
    point_scores: Array,
    labels: Array = _NO_LABELS,
    class_names: tuple[str, ...] = (),
) -> Faces:
    """Return the faces of a photo; rows past the count pad a batch.

    The client's own copies neither hold them nor share memory with the message.
    """
    height, width = (int(side) for side in image_size[:2])
    try:
        return Faces(
            boxes_xyxy=boxes[:number].copy(),
            scores=scores[:number].copy(),
            points_xy=points[:number].copy(),
            point_scores=point_scores[:number].copy(),
            size_wh=(width, height),
            labels=labels[:number].copy(),
            class_names=class_names,
            channels=int(image_size[2]),
        )
    except InputError as error:
        raise ResponseError(f"{model}: {error}") from error


def _read_points(tensors: dict[str, Array]) -> tuple[Array, Array]:
    points, scores = tensors["keypoints"], tensors["keypoint_scores"]
    if points.shape[:2] != scores.shape:
        raise ResponseError(
            f"`keypoint_scores`: expected shape {points.shape[:2]}, got {scores.shape}"
        )
    return points.copy(), scores.copy()
