"""A look at a converted folder: are the files whole, and are the boxes where the faces are?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE, read_kitti
from facekit.labels.photo_labels import PhotoLabels

Colour = tuple[int, int, int]

# Okabe and Ito's palette, lightened: colour-blind eyes tell these apart, also in the dark.
COLOURS: dict[str, Colour] = {
    "mask": (38, 214, 160),
    "no-mask": (255, 110, 150),
    "incorrect-mask": (255, 176, 46),
    DONT_CARE.lower(): (128, 132, 140),
}
_OTHER: Colour = (86, 196, 255)
_BACKGROUND: Colour = (18, 20, 26)
_TEXT: Colour = (214, 218, 226)
_TILE_PX, _CAPTION_PX, _GAP_PX = 320, 18, 6
_COLUMNS = 6
TILES = 36
"""Photos of a contact picture."""


@dataclass
class FolderCheck:
    """What a KITTI folder holds.

    Attributes:
        photos: Each photo with its labels, in order of the names.
        counts: Number of objects of each class, as written.
        problems: Files that don't fit or can't be read.
    """

    photos: list[PhotoLabels] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[DataError] = field(default_factory=list)


def check_folder(folder: Path) -> FolderCheck:
    """Read all labels of a converted folder, and find the photos without any and the reverse.

    Args:
        folder: Holds ``images`` and ``labels``.

    Raises:
        DataError: It holds no such folders, or no photo.
    """
    found = FolderCheck()
    for name in ("images", "labels"):
        if not (folder / name).is_dir():
            raise DataError(folder / name, "no such folder; convert the sets first")
    photos = {file.stem: file for file in sorted((folder / "images").glob("*.jpg"))}
    labels = {file.stem: file for file in sorted((folder / "labels").glob("*.txt"))}
    if not photos:
        raise DataError(folder / "images", "holds no .jpg")
    for stem in sorted(photos.keys() | labels.keys()):
        try:
            if stem not in photos:
                raise DataError(labels[stem], "has no photo")
            if stem not in labels:
                raise DataError(photos[stem], "has no labels")
            read = read_kitti(labels[stem])
        except DataError as error:
            found.problems.append(error)
            continue
        found.counts.update(read.class_names)
        found.photos.append(
            PhotoLabels(
                photos[stem], None, read.boxes_xyxy, read.class_names, read.ignored,
                read.points_xy, read.source,
            )
        )  # fmt: skip
    return found


def sample(photos: Sequence[PhotoLabels], count: int = TILES) -> list[PhotoLabels]:
    """Choose photos for a contact picture: of every set alike, evenly over its names."""
    by_set: dict[str, list[PhotoLabels]] = defaultdict(list)
    for photo in photos:
        by_set[photo.source.stem.partition("_")[0]].append(photo)
    chosen: list[PhotoLabels] = []
    # Small sets first: what they lack is left to the larger ones.
    for number, members in enumerate(sorted(by_set.values(), key=len)):
        share = min(len(members), (count - len(chosen)) // (len(by_set) - number))
        chosen += [members[(2 * k + 1) * len(members) // (2 * share)] for k in range(share)]
    return sorted(chosen, key=lambda photo: photo.source.stem)


def drawn(labels: PhotoLabels) -> Image.Image:
    """Return a photo with its boxes, in a colour for each class.

    Raises:
        DataError: The photo can't be decoded.
    """
    if labels.photo is None:
        raise DataError(labels.source, "has no photo")
    try:
        with Image.open(labels.photo) as file:
            image: Image.Image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(labels.photo, f"cannot be decoded: {error}") from error
    pen = ImageDraw.Draw(image)
    width = max(2, round(image.width / 180))
    for box, name in zip(labels.boxes_xyxy.tolist(), labels.class_names, strict=True):
        x1, y1, x2, y2 = box
        # A rectangle is drawn inwards, so that its outer edge is the box.
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            corners = (x1, y1, x2 - 1, y2 - 1)
            pen.rectangle(corners, outline=COLOURS.get(name.lower(), _OTHER), width=width)
    return image


def contact_picture(tiles: Sequence[tuple[str, Image.Image]], counts: Counter[str]) -> Image.Image:
    """Return a picture of photos side by side, each over its name, under a legend.

    Args:
        tiles: Name and drawn photo of each, all of one size.
        counts: Objects of each class in the whole folder, for the legend.
    """
    high = round(_TILE_PX * tiles[0][1].height / tiles[0][1].width) if tiles else 0
    columns = min(_COLUMNS, max(1, len(tiles)))
    rows = -(-len(tiles) // columns)
    step_x, step_y = _TILE_PX + _GAP_PX, high + _CAPTION_PX + _GAP_PX
    head = 2 * _CAPTION_PX + _GAP_PX
    size = (columns * step_x + _GAP_PX, head + rows * step_y + _GAP_PX)
    sheet = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _legend(pen, counts)
    small = ImageFont.load_default(size=_CAPTION_PX * 0.7)
    for number, (name, tile) in enumerate(tiles):
        x = _GAP_PX + number % columns * step_x
        y = head + number // columns * step_y
        sheet.paste(tile.resize((_TILE_PX, high), Image.Resampling.LANCZOS), (x, y))
        while pen.textlength(name, font=small) > _TILE_PX and len(name) > 2:
            name = name[:-2].rstrip("…") + "…"
        pen.text((x, y + high + 1), name, fill=_TEXT, font=small)
    return sheet


def _legend(pen: ImageDraw.ImageDraw, counts: Counter[str]) -> None:
    font = ImageFont.load_default(size=float(_CAPTION_PX))
    x = float(_GAP_PX)
    for name in sorted(counts, key=lambda name: -counts[name]):
        text = f"{name} {counts[name]}"
        pen.rectangle((x, 12, x + 16, 28), fill=COLOURS.get(name.lower(), _OTHER))
        pen.text((x + 22, 9), text, fill=_TEXT, font=font)
        x += 22 + pen.textlength(text, font=font) + 24
