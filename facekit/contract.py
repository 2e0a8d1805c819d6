"""The tensor contract: every model of the repository, its inputs and its outputs, in one place.

Other services use these names, so they change only with a major version. The ``config.pbtxt``
files, the client and the Python models are checked against this module.

Dims leave out the batch dimension; ``-1`` varies from sample to sample. All pixel coordinates are
x right, y down, the upright original's top left corner at (0, 0), unless a tensor says otherwise.

>>> MODELS["facenet_ensemble"].outputs[0]
TensorSpec(name='true_boxes', dtype='FP32', dims=(-1, 4))
"""

from dataclasses import dataclass

MAX_BATCH_SIZE = 32

NETWORK_WIDTH = 736
"""FaceNet's input width in pixels (NVIDIA's model card)."""
NETWORK_HEIGHT = 416
"""FaceNet's input height in pixels (NVIDIA's model card)."""
PIXEL_RANGE = 255.0
"""Brightest value of a photo, which becomes 1 in ``input_1`` (NVIDIA's model card; no mean)."""
GRID_STRIDE = 16
"""Network pixels between two grid cells (DetectNet_v2)."""
GRID_COLUMNS = NETWORK_WIDTH // GRID_STRIDE
GRID_ROWS = NETWORK_HEIGHT // GRID_STRIDE
CROP_SIDE = 80
"""FPENet's square input in pixels (NVIDIA's model card)."""

CLASS_NAMES: dict[str, tuple[str, ...]] = {"facenet": ("face",), "facemask": ("mask", "no-mask")}
"""Detector to the names of its classes, in the order of its outputs and of its label file."""
NO_LABEL = -1
"""Value of ``true_labels`` in the rows past a photo's count; 0 is a class."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: its name, Triton data type (``FP32``, ``UINT8``, ...) and dims without batch."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class ModelSpec:
    """One model.

    Attributes:
        name: Its name in the repository.
        backend: The backend of ``config.pbtxt``.
        inputs: Tensors of a request.
        outputs: Tensors of its answer.
        optional: Whether no model outside its own group needs it, so that a repository may lack it.
            Its configuration is the same for all weights of the other models.
    """

    name: str
    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    optional: bool = False


# Encoded photos, one a sample, zero-padded to equal length within a request.
_ENCODED = (-1,)
_IMAGE = TensorSpec("image", "UINT8", _ENCODED)
_INPUT_IMAGE = TensorSpec("input_image_data", "UINT8", _ENCODED)
_RAW_IMAGE = TensorSpec("raw_image_data", "UINT8", _ENCODED)
# The photo check passes this to the DALI pipelines.
_PHOTO = TensorSpec("photo", "UINT8", _ENCODED)
# The same for the detectors, possibly smaller (``facekit.photos.reduced``): in the color of the
# input of FaceNet, and in RGB.
_REDUCED = TensorSpec("reduced_photo", "UINT8", _ENCODED)
_REDUCED_COLOR = TensorSpec("reduced_color_photo", "UINT8", _ENCODED)
_ORIENTATION = TensorSpec("orientation", "INT32", (1,))
# The orientation alone, or followed by the height and width that ``gray`` is padded to.
_PLACEMENT = TensorSpec("orientation", "INT32", (-1,))
_SIZE = TensorSpec("true_image_size", "INT64", (3,))
_GRAY = TensorSpec("gray", "UINT8", (-1, -1))
_INPUT_1 = TensorSpec("input_1", "FP32", (3, NETWORK_HEIGHT, NETWORK_WIDTH))


def _grids(detector: str) -> tuple[TensorSpec, TensorSpec]:
    """Return DetectNet_v2's outputs: four channels of boxes and one of coverage for each class."""
    classes = len(CLASS_NAMES[detector])
    return (
        TensorSpec("output_bbox/BiasAdd", "FP32", (4 * classes, GRID_ROWS, GRID_COLUMNS)),
        TensorSpec("output_cov/Sigmoid", "FP32", (classes, GRID_ROWS, GRID_COLUMNS)),
    )


_FACENET_RESULT = (
    TensorSpec("true_boxes", "FP32", (-1, 4)),
    TensorSpec("true_proba", "FP32", (-1, 1)),
    _SIZE,
    TensorSpec("true_count", "INT32", (1,)),
)
# The label of a box is its class's line in the label file, from 0.
_FACEMASK_RESULT = (*_FACENET_RESULT, TensorSpec("true_labels", "INT32", (-1,)))
_FACE_IMAGE = TensorSpec("input_face_images", "FP32", (1, CROP_SIDE, CROP_SIDE))
_BOX = TensorSpec("true_boxes", "INT32", (4,))
# A crop's left, top and side in pixels of the upright original.
_CROP = TensorSpec("crop_xys", "FP32", (3,))
# The number of points depends on FPENet's version: 68, 80 or 104. Only the configurations of
# ``fpenet`` state it, because TensorRT and ONNX Runtime need the network's own dims.
_FPENET_RESULT = (
    TensorSpec("conv_keypoints_m80", "FP32", (-1, CROP_SIDE, CROP_SIDE)),
    TensorSpec("softargmax", "FP32", (-1, 2)),
    TensorSpec("softargmax:1", "FP32", (-1,)),
)
_KEYPOINTS = TensorSpec("keypoints", "FP32", (-1, 2))
_LANDMARKS_RESULT = (
    TensorSpec("keypoints", "FP32", (-1, -1, 2)),
    TensorSpec("keypoint_scores", "FP32", (-1, -1)),
    TensorSpec("image_size", "INT64", (3,)),
)

_ALL = (
    # Called by clients.
    ModelSpec("facenet_ensemble", "ensemble", (_INPUT_IMAGE,), _FACENET_RESULT),
    ModelSpec("facemask_ensemble", "ensemble", (_INPUT_IMAGE,), _FACEMASK_RESULT, optional=True),
    # Not an ensemble: Triton can't return an ensemble's input as an output of the same name.
    ModelSpec("facenet_resized", "python", (_INPUT_1, _SIZE), _FACENET_RESULT),
    ModelSpec("fpenet_ensemble", "ensemble", (_RAW_IMAGE, _BOX), (*_FPENET_RESULT, _KEYPOINTS)),
    ModelSpec(
        "faces",
        "python",
        (_IMAGE,),
        (
            TensorSpec("boxes", "FP32", (-1, 4)),
            TensorSpec("scores", "FP32", (-1,)),
            *_LANDMARKS_RESULT,
            TensorSpec("count", "INT32", (1,)),
            TensorSpec("sharpness", "FP32", (-1,)),
            # Shorter side of the smallest faces that could be seen, in pixels of the photo.
            TensorSpec("least_side", "FP32", (1,)),
        ),
    ),
    ModelSpec(
        "landmarks", "python", (_IMAGE, TensorSpec("boxes", "FP32", (-1, 4))), _LANDMARKS_RESULT
    ),
    # Their steps.
    ModelSpec("photo_check", "python", (_IMAGE,), (_PHOTO, _ORIENTATION, _SIZE)),
    ModelSpec(
        "photo_reduce",
        "python",
        (_IMAGE,),
        (
            _PHOTO,
            _REDUCED,
            _REDUCED_COLOR,
            _ORIENTATION,
            TensorSpec("placement", "INT32", (3,)),
            _SIZE,
        ),
    ),
    ModelSpec("facenet_preprocess", "dali", (_PHOTO, _ORIENTATION), (_INPUT_1,)),
    ModelSpec("facenet", "tensorrt", (_INPUT_1,), _grids("facenet")),
    ModelSpec("facenet_postprocess", "python", (*_grids("facenet"), _SIZE), _FACENET_RESULT),
    ModelSpec("facemask_preprocess", "dali", (_PHOTO, _ORIENTATION), (_INPUT_1,), optional=True),
    ModelSpec("facemask", "tensorrt", (_INPUT_1,), _grids("facemask"), optional=True),
    ModelSpec(
        "facemask_postprocess",
        "python",
        (*_grids("facemask"), _SIZE),
        _FACEMASK_RESULT,
        optional=True,
    ),
    ModelSpec("photo_gray", "dali", (_PHOTO, _PLACEMENT), (_GRAY,)),
    ModelSpec("faces_preprocess", "dali", (_PHOTO, _PLACEMENT), (_INPUT_1, _GRAY)),
    # Three of these steps in one call of ``faces``: the network's input stays in the server.
    ModelSpec(
        "faces_detect",
        "ensemble",
        (_PHOTO, _PLACEMENT, _SIZE),
        (_GRAY, *(tensor for tensor in _FACENET_RESULT if tensor is not _SIZE)),
    ),
    ModelSpec("fpenet_preprocess", "python", (_GRAY, _SIZE, _BOX), (_FACE_IMAGE, _CROP)),
    ModelSpec("fpenet", "tensorrt", (_FACE_IMAGE,), _FPENET_RESULT),
    ModelSpec(
        "fpenet_postprocess", "python", (*_FPENET_RESULT, _CROP), (*_FPENET_RESULT, _KEYPOINTS)
    ),
)

LATER_OUTPUTS = ("sharpness", "least_side")
"""Outputs that servers of earlier versions lack, so that a client does without."""

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _ALL}
"""Every model of the repository by name."""

OPTIONAL_MODELS = tuple(name for name, spec in MODELS.items() if spec.optional)
"""The mask detector and its steps: see ``ModelSpec.optional``."""


def is_optional(model: str) -> bool:
    """Return whether a model is one of the kit's optional ones; a user's own model is not."""
    return model in OPTIONAL_MODELS
