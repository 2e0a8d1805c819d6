"""Where the tag of a drawn face goes: beside its box, on no other face, and not dwarfing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageFont

from facekit.faces import Face

Box = Sequence[float]
"""Left, top, right, bottom in pixels of the photo."""

WIDEST = 2.5
"""How many times as wide as its face a tag may be; a wider one would look like another's."""

_SMALLEST_PX = 9.0
_MEASURED_PX = 64


@dataclass(frozen=True)
class Tag:
    """A text and its background, in pixels of the photo.

    Attributes:
        text: What is written, in letters ``text_px`` high.
        text_px: See ``text``.
        left: The background's left edge.
        top: Its top.
        wide: Its width.
        tall: Its height.
    """

    text: str
    text_px: float
    left: float
    top: float
    wide: float
    tall: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The background: left, top, right, bottom."""
        return self.left, self.top, self.left + self.wide, self.top + self.tall


def font(size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the letters of all tags."""
    return ImageFont.load_default(size=size_px)


def place_tag(
    texts: Iterable[str], face: Face, unit: float, image: Image.Image, taken: Sequence[Box]
) -> Tag | None:
    """Return a tag for the first text that has room: above the box, inside it, or below it.

    Args:
        texts: What may be written, the best first.
        face: Whose tag it is.
        unit: The width of a thin line in pixels.
        image: What is drawn into; at its right edge a tag moves to the left.
        taken: The boxes of other faces, and tags that are placed already.
    """
    text_px = max(_SMALLEST_PX, 7.5 * unit)
    for text in texts:
        letters = float(font(_MEASURED_PX).getlength(text)) * text_px / _MEASURED_PX
        wide, tall = letters + 0.7 * text_px, 1.35 * text_px
        if wide > WIDEST * face.width:
            continue
        left = max(0.0, min(float(face.box_xyxy[0]) - unit, image.width - wide))
        for top in _tops(face, tall, unit, image.height):
            tag = Tag(text, text_px, left, top, wide, tall)
            if not any(_overlap(tag.box, box) for box in taken):
                return tag
    return None


def _tops(face: Face, tall: float, unit: float, height: int) -> Iterator[float]:
    y1, y2 = float(face.box_xyxy[1]), float(face.box_xyxy[3])
    if y1 - tall - 2 * unit >= 0:
        yield y1 - tall - 2 * unit
    if y2 - y1 > 4 * tall:
        yield max(0.0, y1) + 2 * unit
    if y2 + tall + 2 * unit <= height:
        yield y2 + 2 * unit


def _overlap(one: Box, other: Box) -> bool:
    return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (0, 1))
