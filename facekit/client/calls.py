"""The calls of both clients: the tensors sent to each model, and how its answer is read.

Answers are checked against the tensor contract, since the server may not be one of this kit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput

from facekit import limits
from facekit.contract import CLASS_NAMES, LATER_OUTPUTS, MODELS, TensorSpec
from facekit.detection import tiling
from facekit.detection.search import search_parameters
from facekit.errors import BoxError, ConfigError, InputError, ResponseError
from facekit.faces import Faces
from facekit.landmarks import crops

Array = npt.NDArray[Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request of all outputs; ``read`` turns tritonclient's ``InferResult`` into the result."""

    model: str
    inputs: list[Any]
    read: Callable[[Any], Result]
    outputs: list[Any] | None = None
    parameters: dict[str, str] = field(default_factory=dict)


def check_model(
    model: str,
    tiles: str | int | None = None,
    rotations: str | int | None = None,
    threshold: float | None = None,
) -> dict[str, str]:
    """Check that a model is one of ``DETECTORS``, and return its request's parameters.

    Raises:
        ConfigError: It is not, an option is wrong, or this model has no ``tiles`` or ``rotations``.
    """
    if not isinstance(model, str) or model not in DETECTORS:
        raise ConfigError(f"model: expected one of {', '.join(DETECTORS)}, got {model!r}")
    parameters = search_parameters(tiles, rotations, threshold)
    closer = [name for name in ("tiles", "rotations") if name in parameters]
    if closer and model not in _SEARCHING:
        raise ConfigError(
            f"{' and '.join(closer)}: only with the model {' or '.join(_SEARCHING)}, "
            f"not with {model}"
        )
    return parameters


def check_concurrency(concurrency: int) -> None:
    """Check a number of requests in flight.

    Raises:
        ConfigError: It is below 1.
    """
    if concurrency < 1:
        raise ConfigError(f"concurrency: expected at least 1, got {concurrency}")


def check_boxes(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return boxes as float32 (N, 4): left, top, right, bottom in pixels of the upright photo.

    Only the server knows the photo's size, and checks whether a box lies outside it.

    Raises:
        BoxError: Not numbers of shape (N, 4), more than ``limits.MAX_BOXES``, or a box that is not
            finite or has no area.
    """
    try:
        boxes = np.asarray(boxes_xyxy, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BoxError(f"boxes: expected numbers of shape (N, 4): {error}") from error
    if boxes.size == 0 and boxes.shape in ((0,), (0, 4)):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"boxes: expected shape (N, 4), got {boxes.shape}")
    if len(boxes) > limits.MAX_BOXES:
        raise BoxError(f"{len(boxes):,} boxes; the limit of one photo is {limits.MAX_BOXES:,}")
    crops.check_boxes(boxes)
    return boxes


def detect_call(
    photo: npt.NDArray[np.uint8], model: str = "faces", parameters: dict[str, str] | None = None
) -> Call[Faces]:
    """Return the call that finds all faces of one photo, given as encoded bytes uint8 (n,).

    ``parameters`` are those of ``check_model``.
    """
    read_answer, wanted = DETECTORS[model], None
    if parameters and model == "facenet_ensemble":
        # An ensemble has no parameters; ``faces`` asked for boxes alone does the same work.
        read_answer, wanted, model = _read_boxes, _BOXES, "faces"
    chosen = {name for name, value in (parameters or {}).items() if value != "off"}
    turned = "rotations" in chosen

    def read(answer: Any) -> Faces:
        if chosen and model in _SEARCHING and answer.get_output("least_side") is None:
            raise ResponseError(
                f"{model}: this server is of an earlier version, which ignores "
                f"{' and '.join(sorted(chosen))}: update it, or leave them out"
            )
        faces = read_answer(answer)
        return replace(faces, notes=_notes(faces, turned))

    (image,) = MODELS[model].inputs
    return model_call(model, {image.name: photo}, read, wanted, parameters)


def _notes(faces: Faces, turned: bool) -> tuple[str, ...]:
    """Say what a result may have missed; ``turned`` is whether turned faces were looked for."""
    notes = []
    # What one frame shows of a small photo is all that there is to see.
    smaller = faces.least_side >= tiling.MIN_GAIN * tiling.VISIBLE_SIDE
    sides = (faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf)
    clear = faces.least_side * tiling.CLEAR_SIDE / tiling.VISIBLE_SIDE
    if smaller and (not len(faces) or sides.min() < clear):
        notes.append(f"faces under {faces.least_side:.0f} px can't be seen at this size")
    if not (turned or (faces.scores >= tiling.UPRIGHT_SCORE).any()):
        notes.append("turned faces were not looked for")
    return tuple(notes)


def landmarks_call(
    photo: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
) -> Call[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Return the call of the model ``landmarks`` for one photo's boxes, float32 (N, 4)."""

    def read(answer: Any) -> tuple[Array, Array]:
        points, scores = _read_points(outputs_of("landmarks", answer))
        if len(points) != len(boxes_xyxy):
            raise ResponseError(f"landmarks of {len(points)} boxes for {len(boxes_xyxy)} sent")
        return points, scores

    return model_call("landmarks", {"image": photo, "boxes": boxes_xyxy}, read)


def no_landmarks() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the landmarks of no boxes: float32 (0, 68, 2) and (0, 68)."""
    faces = Faces.empty()
    return faces.points_xy, faces.point_scores


def model_call(
    model: str,
    values: dict[str, Array],
    read: Callable[[Any], Result],
    wanted: Sequence[str] | None = None,
    parameters: dict[str, str] | None = None,
) -> Call[Result]:
    """Return the request of one sample; ``values`` are a model's inputs without the batch axis.

    ``wanted`` are the outputs that are asked for; None for all.
    """
    inputs = []
    for tensor in MODELS[model].inputs:
        value = values[tensor.name][None]
        item = InferInput(tensor.name, list(value.shape), tensor.dtype)
        item.set_data_from_numpy(value)
        inputs.append(item)
    # All outputs are asked for without naming them: a server of an earlier version would refuse the
    # names that it lacks.
    outputs = None if wanted is None else [InferRequestedOutput(name) for name in wanted]
    return Call(model, inputs, read, outputs, parameters or {})


def outputs_of(model: str, answer: Any, wanted: Sequence[str] | None = None) -> dict[str, Array]:
    """Return a model's outputs by name for the one photo, without the batch axis.

    Those of ``LATER_OUTPUTS`` may be missing.

    Raises:
        ResponseError: One is missing, of another type or shape, or not finite.
    """
    return {
        tensor.name: _tensor(f"{model}: `{tensor.name}`", tensor, answer)
        for tensor in MODELS[model].outputs
        if (wanted is None or tensor.name in wanted)
        and (tensor.name not in LATER_OUTPUTS or answer.get_output(tensor.name) is not None)
    }


def _tensor(label: str, tensor: TensorSpec, answer: Any) -> Array:
    output = answer.get_output(tensor.name)
    if output is None:
        raise ResponseError(f"{label} is missing from the answer")
    # Compared before the bytes are read, which depends on the type.
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
        raise ResponseError(f"{label}: contains values that are not finite")
    sample: Array = value[0]
    return sample


def _read_faces(answer: Any) -> Faces:
    tensors = outputs_of("faces", answer)
    points, point_scores = _read_points(tensors)
    later = [name for name in ("sharpness",) if name in tensors]
    number = _count("faces", tensors, "count", ("boxes", "scores", "keypoints", *later))
    rows = {
        "boxes_xyxy": tensors["boxes"],
        "scores": tensors["scores"],
        "points_xy": points,
        "point_scores": point_scores,
        **{name: tensors[name] for name in later},
    }
    return _faces(
        "faces", number, tensors["image_size"], rows, least_side=tensors.get("least_side")
    )


def _read_boxes(answer: Any) -> Faces:
    """Read the answer of ``faces`` that was asked for boxes alone; its faces have no points."""
    tensors = outputs_of("faces", answer, _BOXES)
    number = _count("faces", tensors, "count", ("boxes", "scores"))
    points = np.zeros((number, 0, 2), np.float32)
    rows = {
        "boxes_xyxy": tensors["boxes"],
        "scores": tensors["scores"],
        "points_xy": points,
        "point_scores": points[:, :, 0],
    }
    return _faces(
        "faces", number, tensors["image_size"], rows, least_side=tensors.get("least_side")
    )


def _read_ensemble(model: str, class_names: tuple[str, ...], answer: Any) -> Faces:
    """Read the answer of a detector without landmarks; its faces have no points."""
    tensors = outputs_of(model, answer)
    names = [name for name in ("true_boxes", "true_proba", "true_labels") if name in tensors]
    number = _count(model, tensors, "true_count", names)
    points = np.zeros((number, 0, 2), np.float32)
    rows = {
        "boxes_xyxy": tensors["true_boxes"],
        "scores": tensors["true_proba"][:, 0],
        "points_xy": points,
        "point_scores": points[:, :, 0],
    }
    if class_names:
        rows["labels"] = tensors["true_labels"]
    return _faces(model, number, tensors["true_image_size"], rows, class_names)


DETECTORS: dict[str, Callable[[Any], Faces]] = {
    "faces": _read_faces,
    "facenet_ensemble": partial(_read_ensemble, "facenet_ensemble", ()),
    "facemask_ensemble": partial(_read_ensemble, "facemask_ensemble", CLASS_NAMES["facemask"]),
}
"""Models that find faces, and how the answer of each is read."""

_SEARCHING = ("faces", "facenet_ensemble")
"""Those that can look at tiles and at a turned photo."""

_BOXES = ("boxes", "scores", "image_size", "count", "least_side")
"""Outputs of ``faces`` without landmarks."""


def _count(model: str, tensors: dict[str, Array], name: str, rows: Sequence[str]) -> int:
    """Return the number of faces, and check that every tensor of ``rows`` has a row for each."""
    number = int(tensors[name][0])
    shortest = min(rows, key=lambda row: len(tensors[row]))
    length = len(tensors[shortest])
    if not 0 <= number <= length:
        raise ResponseError(f"{model}: `{name}` is {number}, but `{shortest}` has {length}")
    return number


def _faces(
    model: str,
    number: int,
    image_size: Array,
    rows: dict[str, Array],
    class_names: tuple[str, ...] = (),
    least_side: Array | None = None,
) -> Faces:
    """Return the first ``number`` rows as the faces of a photo; the others pad a batch.

    They are copied, so that they do not share memory with the message. Without ``least_side`` the
    whole photo was looked at as one frame.
    """
    height, width, channels = image_size.tolist()
    kept: dict[str, Any] = {name: array[:number].copy() for name, array in rows.items()}
    if least_side is None:
        side = tiling.VISIBLE_SIDE * tiling.shrink(tiling.whole((width, height)))
    else:
        side = float(least_side[0])
    kept |= {"class_names": class_names, "channels": channels, "least_side": side}
    try:
        return Faces(size_wh=(width, height), **kept)
    except InputError as error:
        raise ResponseError(f"{model}: {error}") from error


def _read_points(tensors: dict[str, Array]) -> tuple[Array, Array]:
    points, scores = tensors["keypoints"], tensors["keypoint_scores"]
    if points.shape[:2] != scores.shape:
        raise ResponseError(
            f"`keypoint_scores`: expected shape {points.shape[:2]}, got {scores.shape}"
        )
    return points.copy(), scores.copy()
