"""Draw a contact sheet: photos of a dataset with their faces, on one dark picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from facekit.draw import BOX_COLOR, CLASS_COLORS, PART_COLORS, Color
from facekit.errors import ConfigError
from facekit.landmarks.eyes import has_eyes
from facekit.progress import ProgressBar
from facekit.sheet.pick import Pick
from facekit.sheet.text import fitted, font_for, smaller, writable
from facekit.sheet.tiles import BRIGHT, DIM, GROUND, TileSize, draw_tile

TILE_PX = 480
"""Width of a tile."""
MOST_PIXELS = 200_000_000
_PARTS = {
    "jaw": "jaw",
    "right_eyebrow": "brows",
    "nose": "nose",
    "right_eye": "eyes",
    "outer_mouth": "mouth",
    "inner_mouth": "inner lips",
}
"""Names in the legend of the parts of a face; both sides have one color."""


def contact_sheet(
    picks: Sequence[Pick],
    photo_folder: Path,
    title: str,
    subtitle: str = "",
    *,
    columns: int | None = None,
    tile_px: int = TILE_PX,
    bar: ProgressBar | None = None,
) -> Image.Image:
    """Return the sheet, in RGB; one photo is in memory at a time.

    Args:
        picks: The photos, in the order in which they stand on it.
        photo_folder: What their paths count from.
        title: Its first line.
        subtitle: Its second.
        columns: Tiles in a row; when left out, as many as make the sheet a little wider than high.
        tile_px: A tile's width in pixels.
        bar: Advanced once a photo.

    Raises:
        ConfigError: There is nothing to show, or the sheet would be too large.
    """
    if not picks:
        raise ConfigError(f"{title}: no such photos to show")
    size = TileSize(tile_px)
    across = min(len(picks), columns or max(3, round(math.sqrt(len(picks) * 4 / 3))))
    down = -(-len(picks) // across)
    gap = round(tile_px / 18)
    width = across * (size.width + gap) + gap
    legend = _Legend(_legend(picks), width - 2 * gap, size.letters)
    top = round(gap + 4.2 * size.letters + legend.height + 0.6 * gap)
    height = top + down * (size.height + gap)
    if width * height > MOST_PIXELS:
        raise ConfigError(f"a sheet of {width} x {height} pixels is too large: show fewer photos")
    sheet = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    for text, letters, y, color in (
        (writable(title), 1.75 * size.letters, 0.0, BRIGHT),
        (writable(subtitle), 1.05 * size.letters, 2.3 * size.letters, DIM),
    ):
        # Smaller letters rather than a shortened text, on a sheet of one photo.
        height_px = smaller(text, letters, width - 2 * gap, 0.7 * letters)
        line = fitted(text, height_px, width - 2 * gap)
        draw.text((gap, gap + y), line, fill=color, font=font_for(line, height_px))
    legend.draw(draw, gap, gap + 4.2 * size.letters)
    for k, pick in enumerate(picks):
        at = gap + k % across * (size.width + gap), top + k // across * (size.height + gap)
        sheet.paste(draw_tile(pick, photo_folder, size), at)
        if bar is not None:
            bar.advance()
    return sheet


def _legend(picks: Sequence[Pick]) -> list[tuple[str, Color]]:
    found = [p.record.faces for p in picks if p.record.faces is not None and len(p.record.faces)]
    names = dict.fromkeys(name for faces in found for name in faces.class_names)
    entries = [(name, CLASS_COLORS[k % len(CLASS_COLORS)]) for k, name in enumerate(names)] or (
        [("box and score", BOX_COLOR)] if found else []
    )
    if any(has_eyes(faces.points_xy.shape[1]) for faces in found):
        entries += [(shown, PART_COLORS[part]) for part, shown in _PARTS.items()]
    return entries


class _Legend:
    """Colored dots with their names, in as many rows as needed."""

    def __init__(self, entries: Sequence[tuple[str, Color]], width: float, letters: float) -> None:
        self._letters, x, y = letters, 0.0, 0.0
        self._places: list[tuple[float, float, str, Color]] = []
        for name, color in entries:
            wide = (1.2 + 1.6) * letters + font_for(name, letters).getlength(name)
            if x and x + wide - 1.6 * letters > width:
                x, y = 0.0, y + 1.6 * letters
            self._places.append((x, y, writable(name), color))
            x += wide
        self.height = y + 1.6 * letters if entries else 0.0

    def draw(self, draw: ImageDraw.ImageDraw, left: float, top: float) -> None:
        letters = self._letters
        for x, y, name, color in self._places:
            dot = 0.36 * letters
            cx, cy = left + x + dot, top + y + 0.6 * letters
            draw.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=color)
            at = (left + x + 1.2 * letters, cy)
            draw.text(at, name, fill=DIM, font=font_for(name, letters), anchor="lm")
