"""One photo of a face set, made into a KITTI frame and its label file."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.datasets.source import COUNTED, Box, SourceFace, SourcePhoto
from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE, kitti_line

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Converted:
    """A photo as it is to be written.

    Attributes:
        source: Where it comes from.
        jpeg: The frame; None for a photo that is left out.
        labels: Text of its label file.
        counts: Number of its faces of each counted class.
        problems: What was left out of it because it can't be used, or why all of it was.
        left_out: The set's rules leave the photo out, which is no problem.
    """

    source: SourcePhoto
    jpeg: bytes | None
    labels: str
    counts: Counter[str]
    problems: tuple[DataError, ...] = ()
    left_out: bool = False


def convert_photo(source: SourcePhoto, size_wh: tuple[int, int], dont_care: bool) -> Converted:
    """Decode a photo, cut out its window, stretch it to the frame, and place its faces.

    Args:
        source: The photo and its faces.
        size_wh: Width and height of the frame in pixels.
        dont_care: Write the faces that the set's rules leave out as ``DontCare``.
    """
    try:
        image = _decoded(source)
    except DataError as error:
        return Converted(source, None, "", Counter(), (error,))
    if source.wide_only and image.width < image.height:
        return Converted(source, None, "", Counter(), left_out=True)
    window = _window(source, image.size)
    faces, problems = _placed(source, image.size, window)
    if not source.empty and all(face.class_name == DONT_CARE for face in faces):
        return Converted(source, None, "", Counter(), tuple(problems), left_out=not problems)
    lines = [
        kitti_line(face.class_name, _in_frame(face.box_xyxy, window, size_wh))
        for face in faces
        if dont_care or face.class_name != DONT_CARE
    ]
    for region in source.unlabelled_xyxy:
        cut = _cut(region, window)
        if cut[2] > cut[0] and cut[3] > cut[1]:
            lines.append(kitti_line(DONT_CARE, _in_frame(cut, window, size_wh)))
    frame = image.resize(size_wh, Image.Resampling.BICUBIC, box=window)
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=JPEG_QUALITY)
    counts = Counter(face.class_name for face in faces if face.class_name in COUNTED)
    return Converted(
        source, buffer.getvalue(), "".join(f"{line}\n" for line in lines), counts, tuple(problems)
    )


def _decoded(source: SourcePhoto) -> Image.Image:
    """Decode to RGB, in the orientation that the labels are in.

    Labels count in the pixels as stored, unless the size they give says that they were made on the
    picture turned upright.

    Raises:
        DataError: The photo is missing, damaged, no picture, or not of the size the labels give.
    """
    path = source.photo
    expected = source.size_wh
    try:
        with Image.open(path) as file:
            image: Image.Image = file
            if expected is not None and image.size != expected and image.size[::-1] == expected:
                image = ImageOps.exif_transpose(image)
            if expected is not None and image.size != expected:
                says = f"{source.labels.name} says {expected[0]} x {expected[1]}"
                raise DataError(path, f"is {image.width} x {image.height}, {says}")
            return _opaque(image)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except UnidentifiedImageError:
        raise DataError(path, "is no picture of a known format") from None
    except Exception as error:  # Pillow's decoders have no error of their own for damaged files
        raise DataError(path, f"cannot be decoded: {error}") from error


def _opaque(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, transparent pixels over white as the server shows them."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _window(source: SourcePhoto, size_wh: tuple[int, int]) -> Box:
    """Return the whole photo, or the window in whole pixels, moved into the photo and cut to it."""
    if source.window_xyxy is None:
        return (0.0, 0.0, float(size_wh[0]), float(size_wh[1]))
    starts, ends = [], []
    for low, high, side in zip(
        source.window_xyxy[:2], source.window_xyxy[2:], size_wh, strict=True
    ):
        length = min(max(1, round(high - low)), side)
        start = min(max(0, math.floor(low)), side - length)
        starts.append(float(start))
        ends.append(float(start + length))
    return (starts[0], starts[1], ends[0], ends[1])


def _placed(
    source: SourcePhoto, size_wh: tuple[int, int], window: Box
) -> tuple[list[SourceFace], list[DataError]]:
    """Return the faces whose centre is in the window, cut to it, and what is wrong with others."""
    faces: list[SourceFace] = []
    problems: list[DataError] = []
    left, top, right, bottom = window
    for face in source.faces:
        x1, y1, x2, y2 = face.box_xyxy
        if x2 <= 0 or y2 <= 0 or x1 >= size_wh[0] or y1 >= size_wh[1]:
            text = ", ".join(f"{value:g}" for value in face.box_xyxy)
            reason = f"a box outside the photo of {size_wh[0]} x {size_wh[1]}: {text}"
            problems.append(DataError(source.labels, reason, face.line))
            continue
        centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
        inside = left <= centre_x < right and top <= centre_y < bottom
        if source.window_xyxy is None or inside:
            faces.append(SourceFace(_cut(face.box_xyxy, window), face.class_name, face.line))
    return faces, problems


def _cut(box: Box, window: Box) -> Box:
    return (
        max(box[0], window[0]),
        max(box[1], window[1]),
        min(box[2], window[2]),
        min(box[3], window[3]),
    )


def _in_frame(box: Box, window: Box, size_wh: tuple[int, int]) -> Box:
    """Return a box of the photo in pixels of the frame that the window is stretched to."""
    left, top, right, bottom = window
    scale_x, scale_y = size_wh[0] / (right - left), size_wh[1] / (bottom - top)
    return (
        (box[0] - left) * scale_x,
        (box[1] - top) * scale_y,
        (box[2] - left) * scale_x,
        (box[3] - top) * scale_y,
    )
