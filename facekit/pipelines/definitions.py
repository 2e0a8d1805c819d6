"""The DALI pipelines: from checked photo bytes to network input and gray picture.

One rule keeps them portable: no arithmetic operators. DALI renamed those between releases, while
the operators used here mean the same from 1.35 to 2.4, so that a graph written by a new DALI runs
in an old container. What has to be computed from the EXIF orientation is looked up in tables
instead.

Inputs of every pipeline (``facekit.contract``): ``photo``, the bytes that the photo check hands on,
and ``orientation``, EXIF 1..8, behind which those that give ``gray`` may get the height and width
to pad it to. Every ``external_source`` is named as its input in ``config.pbtxt``.
"""

from collections.abc import Callable
from typing import Any

from nvidia.dali import fn, pipeline_def, types

from facekit.contract import MAX_BATCH_SIZE, NETWORK_HEIGHT, NETWORK_WIDTH, PIXEL_RANGE

COLORS = ("gray", "rgb")
"""What FaceNet is fed: gray in all three channels, as its model card says and the published
Triton repositories do, or the photo's colors, as TAO and DeepStream do."""

DEVICES = ("cpu", "gpu")

# EXIF orientations by what turns the stored pixels upright: transpose first, then mirror.
_TRANSPOSED = [5, 6, 7, 8]
_MIRRORED_X = [2, 3, 6, 7]
_MIRRORED_Y = [3, 4, 7, 8]

# DALI's Python has no types for its graph nodes.
Node = Any


def facenet_preprocess(device: str, color: str | None) -> Node:
    """Return the pipeline photo, orientation -> ``input_1`` float32 [3, 416, 736] in 0..1."""

    @_pipeline(device)
    def facenet_preprocess() -> Node:
        photo, orientation = inputs()
        stored = decode(photo, device, color)
        return _network_input(stored, orientation, color)

    return facenet_preprocess()


def facemask_preprocess(device: str, color: str | None = None) -> Node:
    """Return the same pipeline in the photo's colors, which the mask network is trained on."""
    del color
    return facenet_preprocess(device, "rgb")


def photo_gray(device: str, color: str | None = None) -> Node:
    """Return the pipeline photo, orientation -> ``gray`` uint8 [H, W], upright.

    The photos are padded with zeros, right and below: to the height and width that follow the
    orientation in its tensor, else to the largest of the batch. Triton merges requests, so that
    without a size of its own a small photo would be as large as the largest of somebody else's;
    requests with and without one are never merged, because their tensors differ in length. What
    FaceNet is fed makes no difference to it: FPENet takes gray.
    """

    @_pipeline(device)
    def photo_gray() -> Node:
        photo, placement = inputs()
        orientation, padded_hw = _orientation_and_size(placement)
        return _gray_picture(decode(photo, device, "gray"), orientation, padded_hw, "gray")

    return photo_gray()


def faces_preprocess(device: str, color: str | None) -> Node:
    """Return the pipeline photo, orientation -> ``input_1``, ``gray``, from one decode.

    ``gray`` is padded as that of ``photo_gray``.
    """

    @_pipeline(device)
    def faces_preprocess() -> Node:
        photo, placement = inputs()
        orientation, padded_hw = _orientation_and_size(placement)
        stored = decode(photo, device, color)
        return (
            _network_input(stored, orientation, color),
            _gray_picture(stored, orientation, padded_hw, color),
        )

    return faces_preprocess()


PIPELINES = {
    "facenet_preprocess": facenet_preprocess,
    "facemask_preprocess": facemask_preprocess,
    "photo_gray": photo_gray,
    "faces_preprocess": faces_preprocess,
}
"""Model name to the function that builds its pipeline from device and color."""

COLORS_OF: dict[str, tuple[str | None, ...]] = {
    "facenet_preprocess": COLORS,
    "facemask_preprocess": (None,),
    "photo_gray": (None,),
    "faces_preprocess": COLORS,
}
"""Model name to the colors it is written in; None where there is no choice."""


def _pipeline(device: str) -> Callable[[Callable[[], Node]], Callable[[], Node]]:
    decorate: Callable[[Callable[[], Node]], Callable[[], Node]] = pipeline_def(
        batch_size=MAX_BATCH_SIZE,
        num_threads=1,
        device_id=None if device == "cpu" else 0,
        enable_conditionals=True,
        prefetch_queue_depth=1,
    )
    return decorate


def inputs() -> tuple[Node, Node]:
    """Return the nodes ``photo`` and ``orientation``, which the caller feeds."""
    photo = fn.external_source(name="photo", device="cpu", dtype=types.UINT8, ndim=1)
    orientation = fn.external_source(name="orientation", device="cpu", dtype=types.INT32, ndim=1)
    return photo, orientation


def decode(photo: Node, device: str, color: str | None) -> Node:
    """Return the stored pixels of checked photo bytes, gray or in colors."""
    # "mixed" reads on the CPU and decodes on the GPU.
    return fn.decoders.image(
        photo,
        device="cpu" if device == "cpu" else "mixed",
        output_type=types.GRAY if color == "gray" else types.RGB,
    )


def _network_input(stored: Node, orientation: Node, color: str | None) -> Node:
    # Stretched to the network's frame, aspect ratio not kept, as NVIDIA's own code does; resized
    # before it is turned, because the small picture is the cheaper one to turn.
    resized = fn.resize(
        stored,
        resize_x=_choose(orientation, _TRANSPOSED, NETWORK_HEIGHT, NETWORK_WIDTH),
        resize_y=_choose(orientation, _TRANSPOSED, NETWORK_WIDTH, NETWORK_HEIGHT),
        interp_type=types.INTERP_LINEAR,
        antialias=True,
        dtype=types.UINT8,
    )
    channels = 1 if color == "gray" else 3
    planes = fn.crop_mirror_normalize(
        upright(resized, orientation),
        mean=[0.0] * channels,
        std=[PIXEL_RANGE] * channels,
        dtype=types.FLOAT,
        output_layout="CHW",
    )
    # Gray is replicated last: three times less to resize and to normalize.
    return planes if color == "rgb" else fn.cat(planes, planes, planes, axis=0)


def _orientation_and_size(placement: Node) -> tuple[Node, Node]:
    """Return the orientation, and the height and width to pad to, -1 where they are not given."""
    whole = fn.pad(placement, axes=[0], shape=[3], fill_value=-1)
    return fn.slice(whole, 0, 1, axes=[0]), fn.slice(whole, 1, 2, axes=[0])


def _gray_picture(stored: Node, orientation: Node, padded_hw: Node, color: str | None) -> Node:
    gray = stored
    if color == "rgb":
        gray = fn.color_space_conversion(stored, image_type=types.RGB, output_type=types.GRAY)
    squeezed = fn.squeeze(upright(gray, orientation), axes=[2])
    return fn.pad(squeezed, axes=[0, 1], shape=padded_hw, fill_value=0)


def upright(picture: Node, orientation: Node) -> Node:
    """Return pixels turned by their EXIF orientation."""
    # DALI reads this ``if`` a sample at a time (enable_conditionals).
    if fn.cast(_choose(orientation, _TRANSPOSED, 1, 0), dtype=types.BOOL):
        turned = fn.transpose(picture, perm=[1, 0, 2], transpose_layout=False)
    else:
        turned = picture
    return fn.flip(
        turned,
        horizontal=fn.cast(_choose(orientation, _MIRRORED_X, 1, 0), dtype=types.INT32),
        vertical=fn.cast(_choose(orientation, _MIRRORED_Y, 1, 0), dtype=types.INT32),
    )


def _choose(orientation: Node, listed: list[int], value: int, otherwise: int) -> Node:
    """Return ``value`` for the orientations listed, ``otherwise`` for the rest, a float scalar."""
    table = fn.lookup_table(
        orientation,
        keys=listed,
        values=[float(value)] * len(listed),
        default_value=float(otherwise),
        dtype=types.FLOAT,
    )
    return fn.reshape(table, shape=[])
