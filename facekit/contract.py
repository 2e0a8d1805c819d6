"""The tensor contract: every model of the repository, its inputs and its outputs, in one place.

Other services call these names, so they change only with a major version. The ``config.pbtxt``
files, the client, the Python models and the tests are held to this module.

Dims leave out the batch dimension; ``-1`` varies from sample to sample. All pixel coordinates are
x right, y down, the upright original's top left corner at (0, 0), unless a tensor says otherwise.

>>> MODELS["facenet_ensemble"].outputs[0]
TensorSpec(name='true_boxes', dtype='FP32', dims=(-1, 4))
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_BATCH_SIZE = 32

NETWORK_WIDTH = 736
"""FaceNet's input width in pixels (NVIDIA's model card)."""
NETWORK_HEIGHT = 416
"""FaceNet's input height in pixels (NVIDIA's model card)."""
GRID_STRIDE = 16
"""Network pixels between two grid cells (DetectNet_v2)."""
GRID_COLUMNS = NETWORK_WIDTH // GRID_STRIDE
GRID_ROWS = NETWORK_HEIGHT // GRID_STRIDE
CROP_SIDE = 80
"""FPENet's square input in pixels (NVIDIA's model card)."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: its name, Triton data type (``FP32``, ``UINT8``, ...) and dims without batch."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ModelSpec:
    """One model: what it takes and what it gives.

    ``backend`` is the one of ``config.pbtxt``; ``cpu_backend`` that of ``configs/cpu.pbtxt``.
    """

    name: str
    backend: str
    cpu_backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


# Encoded photos, one a sample, zero-padded to equal length within a request.
_ENCODED = (-1,)
# What the photo check hands to the DALI pipelines.
_PHOTO = TensorSpec("photo", "UINT8", _ENCODED)
_ORIENTATION = TensorSpec("orientation", "INT32", (1,))
_SIZE = TensorSpec("true_image_size", "INT64", (3,))
_GRAY = TensorSpec("gray", "UINT8", (-1, -1))
_INPUT_1 = TensorSpec("input_1", "FP32", (3, NETWORK_HEIGHT, NETWORK_WIDTH))
_BBOX = TensorSpec("output_bbox/BiasAdd", "FP32", (4, GRID_ROWS, GRID_COLUMNS))
_COV = TensorSpec("output_cov/Sigmoid", "FP32", (1, GRID_ROWS, GRID_COLUMNS))
_FACENET_RESULT = (
    TensorSpec("true_boxes", "FP32", (-1, 4)),
    TensorSpec("true_proba", "FP32", (-1, 1)),
    _SIZE,
    TensorSpec("true_count", "INT32", (1,)),
)
_FACE_IMAGE = TensorSpec("input_face_images", "FP32", (1, CROP_SIDE, CROP_SIDE))
_BOX = TensorSpec("true_boxes", "INT32", (4,))
# Where a crop lies: its left, top and side in pixels of the upright original.
_CROP = TensorSpec("crop_xys", "FP32", (3,))
# As many points as FPENet's version gives: 68, 80 or 104. ``fpenet`` alone states the number in its
# configurations, because TensorRT and ONNX Runtime want the network's own dims there.
_FPENET_RESULT = (
    TensorSpec("conv_keypoints_m80", "FP32", (-1, CROP_SIDE, CROP_SIDE)),
    TensorSpec("softargmax", "FP32", (-1, 2)),
    TensorSpec("softargmax:1", "FP32", (-1,)),
)
_KEYPOINTS = TensorSpec("keypoints", "FP32", (-1, 2))
_IMAGE = TensorSpec("image", "UINT8", _ENCODED)

_ALL = (
    # What other services call.
    ModelSpec(
        "facenet_ensemble",
        "ensemble",
        "ensemble",
        (TensorSpec("input_image_data", "UINT8", _ENCODED),),
        _FACENET_RESULT,
    ),
    # Not an ensemble: Triton can't hand an ensemble's input on as an output of the same name.
    ModelSpec("facenet_resized", "python", "python", (_INPUT_1, _SIZE), _FACENET_RESULT),
    ModelSpec(
        "fpenet_ensemble",
        "ensemble",
        "ensemble",
        (TensorSpec("raw_image_data", "UINT8", _ENCODED), _BOX),
        (*_FPENET_RESULT, _KEYPOINTS),
    ),
    ModelSpec(
        "faces",
        "python",
        "python",
        (_IMAGE,),
        (
            TensorSpec("boxes", "FP32", (-1, 4)),
            TensorSpec("scores", "FP32", (-1,)),
            TensorSpec("keypoints", "FP32", (-1, -1, 2)),
            TensorSpec("keypoint_scores", "FP32", (-1, -1)),
            TensorSpec("image_size", "INT64", (3,)),
            TensorSpec("count", "INT32", (1,)),
        ),
    ),
    ModelSpec(
        "landmarks",
        "python",
        "python",
        (_IMAGE, TensorSpec("boxes", "FP32", (-1, 4))),
        (
            TensorSpec("keypoints", "FP32", (-1, -1, 2)),
            TensorSpec("keypoint_scores", "FP32", (-1, -1)),
            TensorSpec("image_size", "INT64", (3,)),
        ),
    ),
    # The steps.
    ModelSpec("photo_check", "python", "python", (_IMAGE,), (_PHOTO, _ORIENTATION, _SIZE)),
    ModelSpec("facenet_preprocess", "dali", "dali", (_PHOTO, _ORIENTATION), (_INPUT_1,)),
    ModelSpec("facenet", "tensorrt", "onnxruntime", (_INPUT_1,), (_BBOX, _COV)),
    ModelSpec("facenet_postprocess", "python", "python", (_BBOX, _COV, _SIZE), _FACENET_RESULT),
    ModelSpec("photo_gray", "dali", "dali", (_PHOTO, _ORIENTATION), (_GRAY,)),
    ModelSpec("faces_preprocess", "dali", "dali", (_PHOTO, _ORIENTATION), (_INPUT_1, _GRAY)),
    ModelSpec("fpenet_preprocess", "python", "python", (_GRAY, _SIZE, _BOX), (_FACE_IMAGE, _CROP)),
    ModelSpec("fpenet", "tensorrt", "onnxruntime", (_FACE_IMAGE,), _FPENET_RESULT),
    ModelSpec(
        "fpenet_postprocess",
        "python",
        "python",
        (*_FPENET_RESULT, _CROP),
        (*_FPENET_RESULT, _KEYPOINTS),
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _ALL}
"""Every model of the repository by name."""
