"""Training frames: views of photos as a spec's augmentation asks for them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.detector.frames import IGNORED, LabeledPhoto
from training.experiment.data import AugmentationConfig, ColorAugmentation

KEPT_SHARE = 0.5
"""A face cut by the frame counts while this share of its box is visible."""
AIMED_SHARE = 0.85
"""Share of the views of a part of a photo that are placed to show a face."""
REACH = 0.4
"""How far from the middle of such a view its face may be, as a share of the view's size."""
PLAIN_SHARE = 0.5
"""Share of the whole frames, where others are crops, that show the photo as it will be served."""
_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""


@dataclass
class Frame:
    """A training frame, mode RGB; ``fill`` is the color of what no photo covers.

    Boxes are float32 [n, 4], frame pixels, clipped to the frame; ``classes`` int64 [n], index of
    each box's class, ``IGNORED`` for none.
    """

    image: Image.Image
    fill: tuple[int, ...] = (0, 0, 0)
    boxes_xyxy: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, boxes: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        """Add boxes with their classes."""
        self.boxes_xyxy = np.concatenate([self.boxes_xyxy, boxes])
        self.classes = np.concatenate([self.classes, classes])


def draw_frame(
    rng: np.random.Generator,
    photos: tuple[LabeledPhoto, ...],
    augmentation: AugmentationConfig,
    size_wh: tuple[int, int],
) -> Frame:
    """Draw a training frame of a photo.

    A photo is stretched to the spec's frame and zoomed, then shifted, mirrored and rotated. Any
    part of a photo larger than the frame may be what it shows, and a smaller one may lie anywhere
    in it (``random_zoom_matrix`` of tao_tensorflow1_backend). Where the spec has crops
    (``crop_width``), or where a frame shows four photos (a mosaic), the view is placed near a face
    instead, and not shifted. A face of which too little is left, or too small, is ``IGNORED``.
    Raises DataError if a photo can't be decoded any more.
    """
    spatial, least = augmentation.spatial_augmentation, augmentation.preprocessing
    fill = tuple(int(v) for v in rng.integers(0, 256, size=3))
    frame = Frame(Image.new("RGB", size_wh, fill), fill)
    if len(photos) == 1:
        _paste(rng, frame, photos[0], augmentation, (0, 0, *size_wh))
    else:
        middle = [round(side * rng.uniform(0.35, 0.65)) for side in size_wh]
        for index, photo in enumerate(photos):
            left, right = (middle[0], size_wh[0]) if index % 2 else (0, middle[0])
            top, bottom = (middle[1], size_wh[1]) if index // 2 else (0, middle[1])
            _paste(rng, frame, photo, augmentation, (left, top, right, bottom))
    if rng.random() < spatial.hflip_probability:
        _mirror(frame, 0)
    if rng.random() < spatial.vflip_probability:
        _mirror(frame, 1)
    if spatial.rotate_rad_max > 0:
        _rotate(frame, float(rng.uniform(-1, 1)) * spatial.rotate_rad_max)
    shown = frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]
    too_small = shown < (least.min_bbox_width, least.min_bbox_height)
    frame.classes[too_small.any(axis=1)] = IGNORED
    gray = augmentation.facekit.gray_probability
    frame.image = recolor(rng, frame.image, augmentation.color_augmentation, gray)
    return frame


def _paste(
    rng: np.random.Generator,
    frame: Frame,
    photo: LabeledPhoto,
    augmentation: AugmentationConfig,
    place: tuple[int, int, int, int],
) -> None:
    """Paste a view of a photo into a place of the frame (left, top, right, bottom)."""
    target = np.array([place[2] - place[0], place[3] - place[1]])
    full, spatial = np.array(augmentation.size_wh), augmentation.spatial_augmentation
    whole = bool((target == full).all())
    low, high = np.log([spatial.zoom_min, spatial.zoom_max])
    zoom = float(np.exp(rng.uniform(low, high)))
    crops = augmentation.crop_wh is not None
    if whole and crops and rng.random() < PLAIN_SHARE:
        zoom = 1.0
    scale = full / np.array(photo.size_wh) * zoom
    shown = target / scale  # what the place shows, in pixels of the photo
    length = np.array(photo.size_wh)
    if whole and not crops:
        most = (spatial.translate_max_x, spatial.translate_max_y)
        shift = rng.uniform(-1, 1, size=2) * most
        start = (length - shown) * rng.random(2) - shift / scale
    else:
        middle = _aim(rng, photo, shown)
        inside = np.clip(middle - shown / 2, 0, np.maximum(length - shown, 0))
        start = np.where(shown < length, inside, (length - shown) * rng.random(2))
    first, last = np.maximum(start, 0), np.minimum(start + shown, length)
    corner = np.round((first - start) * scale).astype(int)
    opposite = np.round((last - start) * scale).astype(int)
    if (opposite <= corner).any() or (last <= first).any():
        return
    part = photo.image().resize(
        (int(opposite[0] - corner[0]), int(opposite[1] - corner[1])),
        Image.Resampling.BILINEAR,
        box=(float(first[0]), float(first[1]), float(last[0]), float(last[1])),
        reducing_gap=2.0,
    )
    frame.image.paste(part, (int(place[0] + corner[0]), int(place[1] + corner[1])))
    boxes = (photo.boxes_xyxy - np.tile(start, 2)) * np.tile(scale, 2)
    limit = np.array([*target, *target], dtype=np.float32)
    kept, classes = clip_boxes(boxes.astype(np.float32), photo.classes, limit)
    frame.add(kept + np.tile(place[:2], 2).astype(np.float32), classes)


def _aim(
    rng: np.random.Generator, photo: LabeledPhoto, shown: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw the middle of a view: mostly near a face, each class of the photo as often."""
    faces = np.flatnonzero(photo.classes != IGNORED)
    if len(faces) == 0 or rng.random() >= AIMED_SHARE:
        return rng.uniform(0, 1, size=2) * photo.size_wh
    present = np.unique(photo.classes[faces])
    chosen = faces[photo.classes[faces] == present[rng.integers(len(present))]]
    box = photo.boxes_xyxy[chosen[rng.integers(len(chosen))]]
    middle: NDArray[np.float64] = (box[:2] + box[2:]) / 2
    return middle + shown * rng.uniform(-REACH, REACH, size=2)


def clip_boxes(
    boxes_xyxy: NDArray[np.float32], classes: NDArray[np.int64], limit: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clip boxes to a frame, drop those outside, and ignore those of which too little is left.

    ``limit`` is float32 [4]: width, height, width, height of the frame.
    """
    inner = np.clip(boxes_xyxy, 0, limit)
    visible = (inner[:, 2:] - inner[:, :2]).prod(axis=1)
    area = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    classes = np.where(visible < KEPT_SHARE * area, IGNORED, classes)
    left = visible > 0
    return inner[left], classes[left]


def _mirror(frame: Frame, axis: int) -> None:
    """Swap left and right (axis 0) or top and bottom (axis 1)."""
    flips = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
    frame.image = frame.image.transpose(flips[axis])
    side = frame.image.size[axis]
    boxes = frame.boxes_xyxy.copy()
    boxes[:, axis] = side - frame.boxes_xyxy[:, axis + 2]
    boxes[:, axis + 2] = side - frame.boxes_xyxy[:, axis]
    frame.boxes_xyxy = boxes


def _rotate(frame: Frame, angle_rad: float) -> None:
    """Rotate a frame about its middle; boxes become those around the rotated ellipses.

    A face fills the ellipse in its box rather than the corners, so its new box is the ellipse's.
    """
    width, height = frame.image.size
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    middle = np.array([width, height]) / 2
    back = np.array([[cos, sin], [-sin, cos]])  # frame to source
    offset = middle - back @ middle
    frame.image = frame.image.transform(
        frame.image.size,
        Image.Transform.AFFINE,
        (*back[0], offset[0], *back[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=frame.fill,
    )
    if len(frame.classes) == 0:
        return
    low, high = frame.boxes_xyxy[:, :2], frame.boxes_xyxy[:, 2:]
    center = ((low + high) / 2 - middle) @ back + middle
    half = (high - low) / 2
    reach = np.sqrt((half**2) @ (back**2))
    boxes = np.concatenate([center - reach, center + reach], axis=1).astype(np.float32)
    limit = np.array([width, height, width, height], dtype=np.float32)
    frame.boxes_xyxy, frame.classes = clip_boxes(boxes, frame.classes, limit)


def recolor(
    rng: np.random.Generator, image: Image.Image, color: ColorAugmentation, gray: float = 0.0
) -> Image.Image:
    """Shift the channels, rotate the hue, and change saturation and contrast of a picture.

    All of it is one affine map of a pixel's color, which Pillow applies in one pass. ``gray`` is
    the chance to drop the color; the picture's mode is RGB.
    """
    if rng.random() < gray:
        image = image.convert("L").convert("RGB")
    saturation = 1 + float(rng.uniform(-1, 1)) * color.saturation_shift_max
    hue = np.deg2rad(float(rng.uniform(-1, 1)) * color.hue_rotation_max)
    contrast = 1 + float(rng.uniform(-1, 1)) * color.contrast_scale_max
    shift = rng.normal(0, 1, size=3) * color.color_shift_stddev
    matrix = contrast * _color_matrix(hue, saturation)
    offset = 255 * (shift + color.contrast_center * (1 - contrast))
    if np.allclose(matrix, np.eye(3)) and np.allclose(offset, 0):
        return image
    rows = np.concatenate([matrix, offset[:, None]], axis=1)
    return image.convert("RGB", tuple(float(value) for value in rows.reshape(-1)))


def _color_matrix(hue_rad: float, saturation: float) -> NDArray[np.float64]:
    """Return the 3x3 matrix that rotates colors about gray and scales their saturation.

    The brightness stays: what is rotated and scaled is each color less its gray.
    """
    gray = np.outer(np.ones(3), _LUMA)
    axis = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    cos, sin = np.cos(hue_rad), np.sin(hue_rad)
    rotation = cos * np.eye(3) + sin * cross + (1 - cos) * np.outer(axis, axis)
    color = np.eye(3) - gray
    matrix: NDArray[np.float64] = gray + saturation * (color @ rotation @ color)
    return matrix
