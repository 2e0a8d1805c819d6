"""Convert one photo of a face set into a KITTI frame and its label file."""

import io
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from facekit.datasets.source import COUNTED, Box, SourceFace, SourcePhoto, box_text, to_box
from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE, kitti_line, written_box
from facekit.labels.photo_labels import labeled_upright, stored_view
from facekit.photos.check import check_photo, decode_checked
from facekit.photos.formats import HEAD_BYTES, kind_of
from facekit.photos.header import upright_boxes

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Converted:
    """A photo as it is to be written; ``jpeg`` is None for one that is left out.

    Attributes:
        labels: Text of its label file.
        counts: Number of its faces of each counted class, as they are written.
        problems: What was left out of it because it can't be used, or why all of it was.
        left_out: The set's rules leave the photo out, which is not a problem.
    """

    jpeg: bytes | None = None
    labels: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    problems: tuple[DataError, ...] = ()
    left_out: bool = False


def convert_photo(source: SourcePhoto, size_wh: tuple[int, int], dont_care: bool) -> Converted:
    """Decode a photo, cut out its window, stretch it to a frame, and place its faces.

    With ``dont_care``, the faces that the set's rules leave out are written as ``DontCare``.
    """
    try:
        image, source = _upright(source)
    except DataError as error:
        return Converted(problems=(error,))
    if source.wide_only and image.width < image.height:
        return Converted(left_out=True)
    if (outside := _outside(source.subject, source, image.size)) is not None:
        return Converted(problems=(outside,))
    window = _window(source, image.size)
    faces, problems = _placed(source, image.size, window, size_wh)
    if not source.empty and all(face.class_name == DONT_CARE for face in faces):
        return Converted(problems=tuple(problems), left_out=not problems)
    lines = [
        kitti_line(face.class_name, _in_frame(face.box_xyxy, window, size_wh))
        for face in faces
        if dont_care or face.class_name != DONT_CARE
    ]
    labeled = [face.box_xyxy for face in faces if face.class_name != DONT_CARE]
    for region in source.unlabeled_xyxy:
        for part in without(_cut(region, window), labeled):
            if (box := written_box(_in_frame(part, window, size_wh))) is not None:
                lines.append(kitti_line(DONT_CARE, box))
    frame = image.resize(size_wh, Image.Resampling.BICUBIC, box=window)
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=JPEG_QUALITY)
    counts = Counter(face.class_name for face in faces if face.class_name in COUNTED)
    text = "".join(f"{line}\n" for line in lines)
    return Converted(buffer.getvalue(), text, counts, tuple(problems))


def without(region: Box, holes: Iterable[Box]) -> list[Box]:
    """Return boxes that don't overlap and cover a region except for some holes."""
    parts = [region] if region[2] > region[0] and region[3] > region[1] else []
    for hole in holes:
        parts = [rest for part in parts for rest in _around(part, hole)]
    return parts


def _around(part: Box, hole: Box) -> list[Box]:
    left, top, right, bottom = part
    x1, y1, x2, y2 = _cut(hole, part)
    if x2 <= x1 or y2 <= y1:
        return [part]
    rests = [
        (left, top, x1, bottom),
        (x1, top, x2, y1),
        (x1, y2, x2, bottom),
        (x2, top, right, bottom),
    ]
    return [rest for rest in rests if rest[2] > rest[0] and rest[3] > rest[1]]


def _upright(source: SourcePhoto) -> tuple[Image.Image, SourcePhoto]:
    """Decode to RGB and turn upright, as the server does, and the labels with it.

    Raises DataError if the photo is missing, damaged, not a picture, or not of the labels' size.
    """
    path = source.photo
    expected = source.size_wh
    try:
        with path.open("rb") as file:
            accepted = kind_of(file.read(HEAD_BYTES)) is not None
        if accepted:
            stored, orientation = stored_view(path)
        else:  # a kind that a server does not take, such as GIF
            with Image.open(path) as other:
                stored, orientation = other.size, 1
        turned = source.upright or labeled_upright(expected, stored, orientation)
        if expected is not None and expected != stored and not turned:
            says = f"{source.labels.name} says {expected[0]} x {expected[1]}"
            raise DataError(path, f"is {stored[0]} x {stored[1]}, {says}")
        if accepted:
            image = decode_checked(check_photo(path.read_bytes())).convert("RGB")
        else:
            with Image.open(path) as other:
                image = _opaque(other)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except UnidentifiedImageError:
        raise DataError(path, "is not a picture of a known format") from None
    except Exception as error:  # Pillow's decoders have no error of their own for damaged files
        raise DataError(path, f"cannot be decoded: {error}") from error
    if orientation == 1 or turned:
        return image, source
    boxes = np.array([face.box_xyxy for face in source.faces], np.float32).reshape(-1, 4)
    faces = tuple(
        replace(face, box_xyxy=to_box(box))
        for face, box in zip(
            source.faces, upright_boxes(boxes, stored, orientation).tolist(), strict=True
        )
    )
    return image, replace(source, faces=faces)


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
    source: SourcePhoto, photo_wh: tuple[int, int], window: Box, frame_wh: tuple[int, int]
) -> tuple[list[SourceFace], list[DataError]]:
    """Return the faces whose center is in the window, cut to it, and what is wrong with others."""
    faces: list[SourceFace] = []
    problems: list[DataError] = []
    left, top, right, bottom = window
    for face in source.faces:
        problem = _outside(face, source, photo_wh)
        x1, y1, x2, y2 = face.box_xyxy
        center_x, center_y = (x1 + x2) / 2, (y1 + y2) / 2
        inside = left <= center_x < right and top <= center_y < bottom
        # A subject may have its center beyond the photo's edge, and the window ends there.
        elsewhere = source.subject is not None and not inside and face != source.subject
        if problem is None and elsewhere:
            continue
        cut = _cut(face.box_xyxy, window)
        if problem is None and written_box(_in_frame(cut, window, frame_wh)) is None:
            size = f"{frame_wh[0]} x {frame_wh[1]}"
            reason = f"a box without area in a frame of {size}: {box_text(face.box_xyxy)}"
            problem = DataError(source.labels, reason, face.line)
        if problem is None:
            faces.append(replace(face, box_xyxy=cut))
        elif face.class_name != DONT_CARE and source.subject in (None, face):
            problems.append(problem)
    return faces, problems


def _outside(
    face: SourceFace | None, source: SourcePhoto, size_wh: tuple[int, int]
) -> DataError | None:
    """Return what is wrong with a face that is not in its photo at all."""
    if face is None:
        return None
    x1, y1, x2, y2 = face.box_xyxy
    if x2 > 0 and y2 > 0 and x1 < size_wh[0] and y1 < size_wh[1]:
        return None
    reason = f"a box outside the photo of {size_wh[0]} x {size_wh[1]}: {box_text(face.box_xyxy)}"
    return DataError(source.labels, reason, face.line)


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
