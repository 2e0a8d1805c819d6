"""Make pictures of a dataset: a contact sheet of some photos, or one photo at full size."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from facekit.annotations import Dataset, read_dataset
from facekit.annotations.dataset import check_photo_folder, name_of
from facekit.annotations.output import failures_path
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.draw import BOX_COLOR, CLASS_COLORS, PART_COLORS, Color, draw_faces
from facekit.errors import ConfigError, DataError, InputError, reading
from facekit.landmarks.eyes import has_eyes
from facekit.progress import ProgressBar
from facekit.sheet.pick import MIXTURE, Pick, pick
from facekit.sheet.text import fitted, font_for, smaller, writable
from facekit.sheet.tiles import BRIGHT, DIM, GROUND, TileSize, draw_tile
from facekit.text import count

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
    pose: bool = False,
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
        pose: Whether to draw the axes of each head.
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
    legend = _Legend(_legend_entries(picks), width - 2 * gap, size.letters)
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
    for k, each in enumerate(picks):
        at = gap + k % across * (size.width + gap), top + k // across * (size.height + gap)
        sheet.paste(draw_tile(each, photo_folder, size, pose=pose), at)
        if bar is not None:
            bar.advance()
    return sheet


def _legend_entries(picks: Sequence[Pick]) -> list[tuple[str, Color]]:
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


COUNT = 12
"""Photos of a sheet."""
_SHOWN = 5
_NOTHING = dict.fromkeys((MIXTURE, "spread"), "no photo") | {"failures": "no photo that failed"}
_SAYS = {
    MIXTURE: "a mixture: many faces, faces turned far, low scores, and any",
    "spread": "at even distances through the dataset",
    "most-faces": "the most faces first",
    "rotation": "the farthest turned first",
    "lowest-score": "the lowest scores first",
    "sharpest": "the sharpest first",
    "failures": "those that failed",
}


def show_dataset(
    path: Path | str,
    photo_folder: Path | str | None = None,
    *,
    how: str = MIXTURE,
    count_of_photos: int = COUNT,
    columns: int | None = None,
    tile_px: int = TILE_PX,
    pose: bool = False,
    bar: ProgressBar | None = None,
) -> Image.Image:
    """Return a contact sheet of a dataset.

    Args:
        path: Its COCO file; what failed is read from the report beside it, where there is one.
        photo_folder: What its file names count from; when left out, what it says itself.
        how: Which photos, one of :data:`facekit.sheet.PICKS`.
        count_of_photos: How many at most.
        columns: As for :func:`facekit.sheet.contact_sheet`, as the next two.
        tile_px: A tile's width in pixels.
        pose: Whether to draw the axes of each head.
        bar: Advanced once a photo.

    Raises:
        ConfigError: There is nothing to show, or ``how`` is unknown.
        DataError: A file can't be used, or none of the photos to show is in the folder.
    """
    path = Path(path)
    dataset, failed = _read(path, photo_folder)
    found = [photo.record for photo in dataset.photos]
    picks = pick([*found, *failed], how, count_of_photos)
    if not picks:
        raise ConfigError(f"{path}: {_NOTHING.get(how, 'no photo with a face')} to show")
    faces = sum(len(record.faces) for record in found if record.faces is not None)
    title = f"{path.name}: {count(faces, 'face')} in {count(len(found), 'photo')}"
    if failed:
        title += f", {len(failed):,} failed"
    shown = f"{count(len(picks), 'photo')} shown, {_SAYS[how]}"
    folder = Path(dataset.info.photo_folder)
    seen = [each.record.photo for each in picks if each.record.faces is not None]
    check_photo_folder(folder, seen)
    return contact_sheet(
        picks, folder, title, shown, columns=columns, tile_px=tile_px, pose=pose, bar=bar
    )


def show_photo(
    path: Path | str, name: str, photo_folder: Path | str | None = None, *, pose: bool = False
) -> Image.Image:
    """Return one photo of a dataset at its full size, with its faces drawn into it.

    It is named by its path under the photo folder, or the end of it that no other has. One that
    failed is a dark tile with the reason.

    Raises:
        ConfigError: No photo has this name, or several do.
        DataError: A file can't be used, or there is no such folder.
        InputError: The photo can't be read, or has changed since its faces were found.
    """
    dataset, failed = _read(Path(path), photo_folder)
    record = _named([*(photo.record for photo in dataset.photos), *failed], name)
    folder = Path(dataset.info.photo_folder)
    if record.faces is None:
        tile = draw_tile(Pick(record), folder, TileSize(2 * TILE_PX))
        return ImageOps.expand(tile, TILE_PX // 12, GROUND)
    if not folder.is_dir():
        check_photo_folder(folder, [record.photo])
    try:
        return draw_faces(folder / record.photo, record.faces, pose=pose)
    except InputError as error:
        reason = str(error).removeprefix(f"{folder / record.photo}: ")
        raise InputError(f"{record.photo}: {reason}") from error


def _read(path: Path, photo_folder: Path | str | None) -> tuple[Dataset, list[PhotoRecord]]:
    folder = None if photo_folder is None else Path(photo_folder)
    return read_dataset(path, folder), read_failures(failures_path(path))


def read_failures(path: Path) -> list[PhotoRecord]:
    """Return what failed by a report of `annotate`, a DataError if that is damaged; [] for none."""
    if not path.exists():
        return []
    records = []
    with reading(path), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                name, reason = name_of(entry, "photo"), str(entry["reason"])
                if not name:
                    raise ValueError("no name of a photo")
            except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
                raise DataError(path, "does not name a photo and a reason", number) from error
            records.append(PhotoRecord(name, FileStamp(0, 0), error=reason))
    return records


def _named(records: list[PhotoRecord], name: str) -> PhotoRecord:
    same = [record for record in records if record.photo == name]
    ends = same or [record for record in records if record.photo.endswith(f"/{name}")]
    if not ends:
        raise ConfigError(f"no photo is called {name}")
    if len(ends) > 1:
        listed = ", ".join(record.photo for record in ends[:_SHOWN])
        more = f" and {len(ends) - _SHOWN:,} more" if len(ends) > _SHOWN else ""
        raise ConfigError(f"{len(ends)} photos are called {name}: {listed}{more}")
    return ends[0]
