"""Draw boxes, scores, classes and landmarks into a photo (needs Pillow: the extra ``draw``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.client.photos import PhotoLike, read_photo
from facekit.errors import InputError, PhotoError
from facekit.faces import Face, Faces
from facekit.landmarks.crops import FloatArray
from facekit.landmarks.eyes import has_eyes
from facekit.landmarks.pose import rotations_of
from facekit.landmarks.scheme import POINT_COUNTS, groups, skeleton
from facekit.photos.check import check_photo, decode_checked

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the photo."""

BOX_COLOR: Color = (255, 214, 64)
"""Boxes and tags where the model has no classes."""

CLASS_COLORS: tuple[Color, ...] = ((38, 214, 160), (255, 122, 72), (86, 196, 255), (214, 160, 255))
"""Boxes and tags of the first class, the second, and so on, repeated after the last."""

# Okabe and Ito's palette for color-blind viewers, lightened to stand out on skin.
PART_COLORS: dict[str, Color] = {
    "jaw": (245, 245, 245),
    "right_eyebrow": (255, 176, 46),
    "left_eyebrow": (255, 176, 46),
    "nose": (38, 214, 160),
    "right_eye": (86, 196, 255),
    "left_eye": (86, 196, 255),
    "outer_mouth": (255, 110, 150),
    "inner_mouth": (255, 168, 194),
    "pupils": (240, 228, 66),
    "ears": (214, 160, 255),
    "extra_eyes": (160, 222, 255),
}
AXIS_COLORS: tuple[Color, Color, Color] = ((255, 84, 84), (84, 230, 110), (84, 150, 255))
"""Of a head's axes: toward the subject's left ear, the chin and the nose."""
_AXIS_PART = 0.55
"""Of the box's longer side."""
_DARK: Color = (18, 20, 26)
_LIGHT: Color = (245, 245, 245)
_DARK_BELOW = 90
"""Luma of a tag's color, of 255, below which its letters are light."""
# Pillow draws without antialiasing: marks are drawn this much larger and scaled down, unless the
# layer would exceed a few megapixels.
_OVERSAMPLING = 4
_MAX_LAYER_PIXELS = 8_000_000
WIDEST_TAG = 2.5
"""Largest width of a tag over its face's; a wider one would look like another face's."""
_SMALLEST_TAG_PX = 9.0
_MEASURED_PX = 64


def open_upright(photo: PhotoLike, size_wh: tuple[int, int] | None = None) -> Image.Image:
    """Decode a photo as the server does: upright, in RGB, transparent pixels over white.

    Raises:
        PhotoError: The photo can't be read or used, or does not have the size ``size_wh`` that it
            had when its faces were found.
    """
    image = decode_checked(check_photo(read_photo(photo))).convert("RGB")
    if size_wh is not None and size_wh != image.size:
        now, then = ("{} x {}".format(*size) for size in (image.size, size_wh))
        raise PhotoError(f"now {now} pixels, but {then} when its faces were found")
    return image


def draw_faces(
    photo: PhotoLike, faces: Faces, *, scores: bool = True, pose: bool = False
) -> Image.Image:
    """Return a copy of the photo, upright and in RGB, with the faces drawn into it.

    Args:
        photo: The faces' photo, as for ``Client.detect``.
        faces: The photo's faces.
        scores: Whether to write each face's class, if any, and score beside its box. Where this
            would cover another face, only the score is written, or nothing.
        pose: Whether to draw the axes of each head from between its eyes: toward its left ear, its
            chin and its nose, in red, green and blue.

    Raises:
        InputError: The faces are of a photo of another size.
        PhotoError: The photo can't be read or used.
    """
    image = open_upright(photo)
    if image.size != faces.size_wh:
        raise InputError(
            f"these faces are of a photo of {faces.size_wh[0]} x {faces.size_wh[1]} pixels; "
            f"this one has {image.width} x {image.height}"
        )
    draw_into(image, faces, scores=scores, pose=pose)
    return image


def draw_into(
    image: Image.Image,
    faces: Faces,
    *,
    scores: bool = True,
    pose: bool = False,
    names: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
) -> None:
    """Draw faces into a picture in RGB, with lines that fit the picture's size.

    Args:
        image: Is changed.
        faces: In pixels of the image.
        scores: As for :func:`draw_faces`.
        pose: Likewise.
        names: What is written beside each face instead of its class.
        colors: The color of each face instead of its class's.
    """
    shown = list(faces)
    if names is not None:
        shown = [replace(face, class_name=name) for face, name in zip(shown, names, strict=True)]
    order = sorted(range(len(faces)), key=lambda i: float(faces.scores[i]))
    tags = place_tags(image, shown, order[::-1], scores)
    # In ascending order of scores, so that of overlapping faces the best is on top.
    for index in order:
        color = BOX_COLOR
        if colors is not None:
            color = colors[index]
        elif faces.class_names:
            color = CLASS_COLORS[faces.labels[index] % len(CLASS_COLORS)]
        _draw_face(image, faces[index], color, tags.get(index))
    if pose and has_eyes(faces.points_xy.shape[1]):
        for index in order:
            _draw_axes(image, faces[index], faces.poses_deg[index])


@dataclass(frozen=True)
class Tag:
    """A text, the height of its letters, and the box of its background, in pixels of the photo."""

    text: str
    text_px: float
    box: Box


def draw_tag(image: Image.Image, tag: Tag, color: Color) -> None:
    """Draw a tag of :func:`place_tags` into the image, without its face."""
    _draw_layer(image, tag.box, lambda pen: _write_tag(pen, tag, color))


def place_tags(
    image: Image.Image, faces: Sequence[Face], order: Sequence[int], with_scores: bool
) -> dict[int, Tag]:
    """Return the tags that fit, by the face's index; faces choose their place in this order."""
    boxes = [_box_of(face) for face in faces]
    tags: dict[int, Tag] = {}
    for index in order:
        face = faces[index]
        score = f"{face.score:.2f}" if with_scores else ""
        texts = dict.fromkeys((" ".join(filter(None, (face.class_name, score))), score))
        taken = [box for other, box in enumerate(boxes) if other != index]
        taken += [tag.box for tag in tags.values()]
        tag = _place_tag(filter(None, texts), face, _unit(image, face), image, taken)
        if tag is not None:
            tags[index] = tag
    return tags


def font(size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the built-in font, which all tags use."""
    return ImageFont.load_default(size=size_px)


def _place_tag(
    texts: Iterable[str], face: Face, unit: float, image: Image.Image, taken: Sequence[Box]
) -> Tag | None:
    """Return a tag for the first text that fits: above the box, inside it, or below it."""
    text_px = max(_SMALLEST_TAG_PX, 7.5 * unit)
    for text in texts:
        letters = float(font(_MEASURED_PX).getlength(text)) * text_px / _MEASURED_PX
        wide, tall = letters + 0.7 * text_px, 1.35 * text_px
        if wide > WIDEST_TAG * face.width:
            continue
        left = max(0.0, min(float(face.box_xyxy[0]) - unit, image.width - wide))
        for top in _tag_tops(face, tall, unit, image.height):
            box = left, top, left + wide, top + tall
            if not any(_overlap(box, other) for other in taken):
                return Tag(text, text_px, box)
    return None


def _tag_tops(face: Face, tall: float, unit: float, height: int) -> Iterator[float]:
    y1, y2 = float(face.box_xyxy[1]), float(face.box_xyxy[3])
    if y1 - tall - 2 * unit >= 0:
        yield y1 - tall - 2 * unit
    if y2 - y1 > 4 * tall:
        yield max(0.0, y1) + 2 * unit
    if y2 + tall + 2 * unit <= height:
        yield y2 + 2 * unit


def _overlap(one: Box, other: Box) -> bool:
    return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (0, 1))


def _box_of(face: Face) -> Box:
    x1, y1, x2, y2 = face.box_xyxy.tolist()
    return x1, y1, x2, y2


def _unit(image: Image.Image, face: Face) -> float:
    """Return the width of a thin line in pixels, from the sizes of the photo and the face."""
    photo_px = math.sqrt(image.width * image.height) / 420
    face_px = max(face.width, face.height) / 110
    return max(0.8, min(math.sqrt(photo_px * face_px), 1.6 * face_px, 2.5 * photo_px))


def _draw_face(image: Image.Image, face: Face, color: Color, tag: Tag | None) -> None:
    unit = _unit(image, face)
    # The tag's box already includes the line's width.
    boxes = [_box_of(face)] + ([] if tag is None else [tag.box])
    points = face.points_xy.tolist()
    xs = [x for box in boxes for x in box[0::2]] + [x for x, _ in points]
    ys = [y for box in boxes for y in box[1::2]] + [y for _, y in points]
    margin = 4 * unit

    def draw(pen: _Pen) -> None:
        _draw_box(pen, face, color, unit)
        _draw_points(pen, face, unit)
        if tag is not None:
            _write_tag(pen, tag, color)

    area = min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin
    _draw_layer(image, area, draw)


def _draw_axes(image: Image.Image, face: Face, pose_deg: FloatArray) -> None:
    if not np.isfinite(pose_deg).all():
        return
    unit = _unit(image, face)
    start, length = face.center_xy.astype(np.float64), _AXIS_PART * max(face.width, face.height)
    # The nose points against the third axis. What comes nearest is drawn last.
    axes = rotations_of(pose_deg[None])[0].T * [[1], [1], [-1]]
    ends = [
        (start + length * axis[:2], -axis[2], color)
        for axis, color in zip(axes, AXIS_COLORS, strict=True)
    ]

    def draw(pen: _Pen) -> None:
        for end, _, color in sorted(ends, key=lambda each: float(each[1])):
            line = [(float(start[0]), float(start[1])), (float(end[0]), float(end[1]))]
            pen.line(line, _DARK, 2.6 * unit)
            pen.line(line, color, 1.6 * unit)
            pen.dot(*line[1], 1.8 * unit, color)

    reach = length + 4 * unit
    _draw_layer(image, (*(start - reach).tolist(), *(start + reach).tolist()), draw)


def _draw_layer(image: Image.Image, area: Box, draw: Callable[[_Pen], None]) -> None:
    """Draw into a part of the image through a larger, transparent layer."""
    left, top = max(0, math.floor(area[0])), max(0, math.floor(area[1]))
    right, bottom = min(image.width, math.ceil(area[2])), min(image.height, math.ceil(area[3]))
    if right <= left or bottom <= top:
        return
    pixels = (right - left) * (bottom - top)
    scale = max(1, min(_OVERSAMPLING, int(math.sqrt(_MAX_LAYER_PIXELS / pixels))))
    layer = Image.new("RGBA", ((right - left) * scale, (bottom - top) * scale))
    draw(_Pen(ImageDraw.Draw(layer), left, top, scale))
    small = layer.reduce(scale) if scale > 1 else layer
    image.paste(small.convert("RGB"), (left, top), small.getchannel("A"))


class _Pen:
    """Draws in pixel coordinates of the photo on a scaled layer with another origin."""

    def __init__(self, draw: ImageDraw.ImageDraw, left: int, top: int, scale: int) -> None:
        self._draw, self._left, self._top, self._scale = draw, left, top, scale

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return (x - self._left) * self._scale, (y - self._top) * self._scale

    def line(self, points: list[tuple[float, float]], color: Color, width: float) -> None:
        """Draw a line through points."""
        self._draw.line(
            [self._at(x, y) for x, y in points],
            fill=(*color, 255),
            width=max(1, round(width * self._scale)),
            joint="curve",
        )

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """Draw a filled circle."""
        cx, cy = self._at(x, y)
        r = radius * self._scale
        self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(*color, 255))

    def panel(
        self, box: Box, color: Color | None, radius: float,
        outline: Color | None = None, width: float = 0,
    ) -> None:  # fmt: skip
        """Draw a rectangle with round corners, filled or as an outline."""
        x1, y1 = self._at(box[0], box[1])
        x2, y2 = self._at(box[2], box[3])
        self._draw.rounded_rectangle(
            (x1, y1, max(x1, x2), max(y1, y2)),
            radius=radius * self._scale,
            fill=None if color is None else (*color, 255),
            outline=None if outline is None else (*outline, 255),
            width=max(1, round(width * self._scale)),
        )

    def text(self, x: float, y: float, text: str, height: float, color: Color) -> None:
        """Write a text, centered on a point."""
        self._draw.text(
            self._at(x, y), text, fill=(*color, 255), font=font(height * self._scale), anchor="mm"
        )


def _write_tag(pen: _Pen, tag: Tag, color: Color) -> None:
    left, top, right, bottom = tag.box
    pen.panel(tag.box, color, 0.25 * (bottom - top))
    # Weights of ITU-R BT.601's luma.
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    middle = (left + right) / 2, (top + bottom) / 2
    pen.text(*middle, tag.text, tag.text_px, _DARK if luma > _DARK_BELOW else _LIGHT)


def _draw_box(pen: _Pen, face: Face, color: Color, unit: float) -> None:
    x1, y1, x2, y2 = _box_of(face)
    radius = min(4 * unit, face.width / 8)
    for grown, outline, width in ((unit, _DARK, 3 * unit), (unit / 2, color, 2 * unit)):
        box = x1 - grown, y1 - grown, x2 + grown, y2 + grown
        pen.panel(box, None, radius, outline=outline, width=width)


def _draw_points(pen: _Pen, face: Face, unit: float) -> None:
    points = [(float(x), float(y)) for x, y in face.points_xy]
    colors = [BOX_COLOR] * len(points)
    if len(points) in POINT_COUNTS:
        for name, span in groups(len(points)).items():
            colors[span.start : span.stop] = [PART_COLORS[name]] * len(span)
        for start, end in skeleton(len(points)):
            pen.line([points[start], points[end]], colors[start], 0.6 * unit)
    # Smaller points on a small face, so that they do not cover it.
    radius = min(1.1 * unit, max(face.width, face.height) / 90)
    for x, y in points:
        pen.dot(x, y, 1.4 * radius, _DARK)
    for (x, y), color in zip(points, colors, strict=True):
        pen.dot(x, y, radius, color)
