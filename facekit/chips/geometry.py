"""Where a face goes in its chip, and how the chip is cut out of the photo.

The eye line becomes level, the subject's right eye on the left. The point midway between the eyes
comes to the same place in every chip (:func:`eyes_center_xy`): half way across, and a quarter of
the way down the inner square, which is the chip less its margin on every side. The scale is the
largest at which all landmarks of the face, jaw and brows included, lie in the inner square. A scale
by the eyes' distance alone would blow up faces in profile, whose eyes are close together.

Embedding networks expect a face where those lay that they were trained on:
:func:`arcface_from_photo` brings five points to the template of ArcFace, as near as may be.

Pixels count from the corner of the first one, as everywhere in the kit: its center is at 0.5.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from facekit.client.photos import PhotoLike
from facekit.draw import open_upright
from facekit.errors import ConfigError, InputError
from facekit.faces import Face
from facekit.landmarks.scheme import POINT_COUNTS, groups

Affine = npt.NDArray[np.float64]
"""float64 (2, 3): ``affine[:, :2] @ (x, y) + affine[:, 2]``."""

MARGIN = 0.3
"""Of the inner square's side, on each of its four sides."""

EYES_DOWN = 0.25
"""How far down the inner square the eyes lie. Brows take less than that above the eyes of nearly
every face, and chins less than the rest below, so that the inner square's width decides."""

NEAREST_EYES = 0.05
"""Smallest distance of the eyes over the box's longer side. Nearer ones, half a pixel apart in a
face of ten, give a random direction."""
_FARTHEST_EYES = 2.0
_EYES = ("right_eye", "left_eye")
_FACE_POINTS = 68
"""The points of the face itself; pupils and ears behind them change nothing about its size."""
_REACH = 4
"""Pixels around a chip's outline that bicubic interpolation may look at, and two to spare."""


Template = Literal["eyes", "arcface112"]
TEMPLATE_SIZES: dict[Template, int] = {"eyes": 256, "arcface112": 112}
"""Where a face goes in its chip, and the chip's side in pixels where none is asked for."""

_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
"""The subject's right eye, left eye, the tip of the nose, the right and left corner of the mouth
(``arcface_dst`` of insightface, python-package/insightface/utils/face_align.py). There, as in
OpenCV, pixels count from the center of the first one."""
_NOSE_TIP, _MOUTH_CORNERS = 30, (48, 54)


class DegenerateFaceError(InputError):
    """The landmarks of a face don't tell which way is up."""


def eyes_center_xy(size: int, margin: float = MARGIN) -> tuple[float, float]:
    """Return where the point midway between the eyes lies in every chip, in pixels."""
    whole = 1 + 2 * margin
    return size / 2, size * (margin + EYES_DOWN) / whole


def chip_from_photo(
    points_xy: npt.ArrayLike, box_xyxy: npt.ArrayLike, size: int, margin: float = MARGIN
) -> Affine:
    """Return the map from pixels of the upright photo to pixels of the chip.

    It turns, scales evenly and shifts; nothing is stretched or mirrored.

    Args:
        points_xy: (K, 2), the face's landmarks in pixels of the photo; 68 points or a scheme that
            begins with them.
        box_xyxy: (4,), its box, which decides how near eyes may be.
        size: The chip's side in pixels.
        margin: Around the landmarks, as a part of the side of the square that they fill.

    Raises:
        DegenerateFaceError: The points are of no known scheme or not finite, or the eyes lie at
            one place, too near to each other for the box, or too far.
    """
    points = _checked_points(points_xy)
    spans = groups(len(points))
    right, left = (points[spans[eye].start : spans[eye].stop].mean(axis=0) for eye in _EYES)
    distance = float(np.hypot(*(left - right)))
    _check_distance(distance, np.asarray(box_xyxy, np.float64))
    cos, sin = (left - right) / distance
    turn = np.array([[cos, sin], [-sin, cos]])
    center = (left + right) / 2
    reach = (points - center) @ turn.T
    inner = size / (1 + 2 * margin)
    # The eyes themselves reach to both sides, so that at least this divisor is above 0.
    scale = inner / max(
        2 * float(np.abs(reach[:, 0]).max()),
        -float(reach[:, 1].min()) / EYES_DOWN,
        float(reach[:, 1].max()) / (1 - EYES_DOWN),
    )
    linear = scale * turn
    shift = np.array(eyes_center_xy(size, margin)) - linear @ center
    return np.column_stack([linear, shift])


def arcface_from_photo(points_xy: npt.ArrayLike, box_xyxy: npt.ArrayLike, size: int) -> Affine:
    """Return the map from pixels of the upright photo to pixels of ArcFace's chip.

    The similarity that brings the centers of the eyes, the tip of the nose and the corners of the
    mouth nearest to the template, by least squares (Umeyama, 1991). What is beside the photo is
    black.

    Args:
        points_xy: As for :func:`chip_from_photo`.
        box_xyxy: (4,), the face's box.
        size: The chip's side in pixels; the template is scaled to it.

    Raises:
        DegenerateFaceError: The points are of no known scheme or not finite, or lie at one place.
    """
    points = _checked_points(points_xy)
    spans = groups(len(points))
    eyes = [points[spans[eye].start : spans[eye].stop].mean(axis=0) for eye in _EYES]
    five = np.array([*eyes, points[_NOSE_TIP], *points[list(_MOUTH_CORNERS)]])
    middle, wanted = five.mean(axis=0), (_ARCFACE + 0.5) * size / TEMPLATE_SIZES["arcface112"]
    # As complex numbers a similarity is one factor.
    across, places = ((each - each.mean(axis=0)) @ np.array([1, 1j]) for each in (five, wanted))
    spread = float(np.vdot(across, across).real)
    left, top, right, bottom = np.asarray(box_xyxy, np.float64)
    if not math.sqrt(spread) > NEAREST_EYES * max(right - left, bottom - top):
        raise DegenerateFaceError("eyes, nose and mouth at one place")
    factor = np.vdot(across, places) / spread
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, wanted.mean(axis=0) - linear @ middle])


def affine_of(
    template: Template,
    points_xy: npt.ArrayLike,
    box_xyxy: npt.ArrayLike,
    size: int,
    margin: float = MARGIN,
) -> Affine:
    """Return the map of a template; ``margin`` is that of ``eyes``.

    Raises:
        DegenerateFaceError: The landmarks don't tell where the face goes.
    """
    if template == "eyes":
        return chip_from_photo(points_xy, box_xyxy, size, margin)
    return arcface_from_photo(points_xy, box_xyxy, size)


def check_template(template: str) -> None:
    """Check that there is a template of this name.

    Raises:
        ConfigError: There is none.
    """
    if template not in TEMPLATE_SIZES:
        raise ConfigError(f"template: expected {' or '.join(TEMPLATE_SIZES)}, got {template}")


def _checked_points(points_xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the points of the face itself, float64 (68, 2).

    Raises:
        DegenerateFaceError: They are of no known scheme or not finite.
    """
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    if len(points) not in POINT_COUNTS:
        raise DegenerateFaceError(f"{len(points)} points have no eyes; 68, 80 or 104 have")
    points = points[:_FACE_POINTS]
    if not np.isfinite(points).all():
        raise DegenerateFaceError("landmarks that are missing or not finite")
    return points


def _check_distance(distance: float, box: npt.NDArray[np.float64]) -> None:
    longer = max(box[2] - box[0], box[3] - box[1])
    if distance == 0:
        raise DegenerateFaceError("both eyes at one place")
    if not distance >= NEAREST_EYES * longer:
        raise DegenerateFaceError(
            f"eyes {distance:.2f} pixels apart in a box of {longer:.0f}: too near to tell which "
            "way is up"
        )
    if distance > _FARTHEST_EYES * longer:
        raise DegenerateFaceError(
            f"eyes {distance:.0f} pixels apart in a box of {longer:.0f}: not of this face"
        )


def read_chip(
    photo: PhotoLike,
    face: Face,
    size: int | None = None,
    margin: float = MARGIN,
    *,
    template: Template = "eyes",
) -> Image.Image:
    """Return the aligned chip of one face of a photo, in RGB.

    Args:
        photo: The face's photo, as for ``Client.detect``.
        face: The face.
        size: The chip's side in pixels; when left out 256, or 112 with ``arcface112``.
        margin: See :func:`chip_from_photo`; of ``eyes`` alone.
        template: ``eyes``, see :func:`chip_from_photo`, or ``arcface112``, see
            :func:`arcface_from_photo`.

    Raises:
        ConfigError: There is no such template.
        DegenerateFaceError: The landmarks don't tell where the face goes.
        PhotoError: The photo can't be read or used.
    """
    check_template(template)
    side = TEMPLATE_SIZES[template] if size is None else size
    affine = affine_of(template, face.points_xy, face.box_xyxy, side, margin)
    return cut_chip(open_upright(photo), affine, side)


def cut_chip(image: Image.Image, affine: Affine, size: int) -> Image.Image:
    """Return the chip that a map cuts out of an upright photo; black beside the photo.

    Where the chip is coarser than the photo, it is drawn at twice its size, from pixels that were
    averaged in blocks first, and its own pixels are the means of four: it shows no aliasing.
    """
    linear = np.linalg.inv(affine[:, :2])
    back = np.column_stack([linear, -linear @ affine[:, 2]])
    step = math.hypot(back[0, 0], back[1, 0])  # pixels of the photo to one of the chip
    finer = 2 if step > 1 else 1
    block = max(1, math.ceil(step / 2))
    corners = back[:, :2] @ np.array([[0, size, 0, size], [0, 0, size, size]]) + back[:, 2:]
    left, top, right, bottom = _part(corners, block, image.size)
    if right <= left or bottom <= top:
        return Image.new("RGB", (size, size))
    part = image.crop((left, top, right, bottom))
    if block > 1:
        part = part.reduce(block)
    back[:, 2] = (back[:, 2] - (left, top)) / block
    back[:, :2] /= block * finer
    drawn = part.transform(
        (size * finer, size * finer),
        Image.Transform.AFFINE,
        tuple(back.ravel().tolist()),
        resample=Image.Resampling.BICUBIC,
    )
    return drawn.reduce(finer) if finer > 1 else drawn


def _part(corners: Affine, block: int, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of whole blocks around a chip's outline, hardly beyond the photo."""
    edges = []
    for values, length in zip(corners, size_wh, strict=True):
        low = max(math.floor(values.min()) - _REACH * block, 0 if block == 1 else -block)
        high = min(math.ceil(values.max()) + _REACH * block, length)
        # Beyond the photo's edge `crop` gives black, with which its last pixels are averaged.
        edges.append((low, low + max(0, -(-(high - low) // block)) * block))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
