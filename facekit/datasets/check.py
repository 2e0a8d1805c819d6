"""Check a converted folder: whether its files are whole, and whether the boxes fit the faces."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from facekit.datasets.kitti_folder import read_frame_size
from facekit.datasets.source import box_text
from facekit.errors import DataError
from facekit.labels.kitti import DONT_CARE, read_kitti
from facekit.labels.listing import list_files
from facekit.labels.photo_labels import PhotoLabels
from facekit.progress import ProgressBar

Color = tuple[int, int, int]

# Okabe and Ito's palette, which color-blind eyes tell apart, lightened.
COLORS: dict[str, Color] = {
    "mask": (38, 214, 160),
    "no-mask": (255, 110, 150),
    "incorrect-mask": (255, 176, 46),
    DONT_CARE.lower(): (128, 132, 140),
}
_OTHER: Color = (86, 196, 255)
_BACKGROUND: Color = (18, 20, 26)
_TEXT: Color = (214, 218, 226)
_TILE_PX, _CAPTION_PX, _GAP_PX = 320, 18, 6
_COLUMNS = 6
_TOLERANCE_PX = 0.01
"""Labels have two decimals."""
TILES = 36
"""Photos of a contact sheet."""


@dataclass
class FolderCheck:
    """The photos of a KITTI folder that can be decoded, its objects by class, and its problems.

    The photos are sorted by name and have their sizes. Problems are files that don't fit or can't
    be read, and boxes beyond their frame.
    """

    photos: list[PhotoLabels] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[DataError] = field(default_factory=list)


def check_folder(folder: Path, name: str | None = None, workers: int = 1) -> FolderCheck:
    """Read all labels and decode all frames of a converted folder, with a progress bar.

    Photos without labels and the reverse are found, frames that can't be decoded or are not of the
    folder's size, and boxes that reach beyond their frame. The folder's size is what its
    ``sources.json`` says, or else that of most frames. With a ``name``, only this photo is looked
    at, with or without its set's prefix. The result is the same for any number of threads. Raises
    DataError if there are no folders ``images`` and ``labels``, or no photo.
    """
    photos = {file.stem: file for file in list_files(folder / "images", (".jpg",))}
    labels = {file.stem: file for file in list_files(folder / "labels", (".txt",))}
    if not photos:
        raise DataError(folder / "images", "contains no .jpg")
    stems = [
        stem
        for stem in sorted(photos.keys() | labels.keys())
        if name is None or name in (stem, stem.partition("_")[2])
    ]
    read: list[PhotoLabels | DataError] = []
    with ThreadPoolExecutor(workers) as pool, ProgressBar(len(stems), "photos") as bar:
        for entry in pool.map(lambda stem: _read(photos.get(stem), labels.get(stem)), stems):
            read.append(entry)
            bar.advance(failed=isinstance(entry, DataError))
    sizes = Counter(entry.size_wh for entry in read if isinstance(entry, PhotoLabels))
    size = read_frame_size(folder) or (sizes.most_common(1)[0][0] if sizes else None)
    found = FolderCheck()
    for entry in read:
        if isinstance(entry, DataError):
            found.problems.append(entry)
            continue
        found.counts.update(entry.class_names)
        found.photos.append(entry)
        found.problems += _misfits(entry, size)
    return found


def _read(photo: Path | None, label_file: Path | None) -> PhotoLabels | DataError:
    """Return a photo's labels with its size, or what is wrong with either file."""
    try:
        if label_file is None:
            assert photo is not None
            raise DataError(photo, "has no labels")
        if photo is None:
            raise DataError(label_file, "has no photo")
        labels = read_kitti(label_file)
        return replace(labels, photo=photo, size_wh=_decoded(photo).size)
    except DataError as error:
        return error


def _misfits(labels: PhotoLabels, size_wh: tuple[int, int] | None) -> list[DataError]:
    """Return what is wrong with a frame of another size, or a box beyond its frame."""
    found: list[DataError] = []
    if labels.photo is None or labels.size_wh is None:
        return found
    width, height = labels.size_wh
    if size_wh is not None and labels.size_wh != size_wh:
        reason = f"is {width} x {height}, the other frames are {size_wh[0]} x {size_wh[1]}"
        found.append(DataError(labels.photo, reason))
    for number, (x1, y1, x2, y2) in enumerate(labels.boxes_xyxy.tolist(), start=1):
        if max(-x1, -y1, x2 - width, y2 - height) > _TOLERANCE_PX:
            box = box_text((x1, y1, x2, y2))
            reason = f"object {number} reaches beyond its frame of {width} x {height}: {box}"
            found.append(DataError(labels.source, reason))
    return found


def sample(photos: Sequence[PhotoLabels], count: int = TILES) -> list[PhotoLabels]:
    """Choose photos for a contact sheet: of every set alike, evenly over its names."""
    by_set: dict[str, list[PhotoLabels]] = defaultdict(list)
    for photo in photos:
        by_set[photo.source.stem.partition("_")[0]].append(photo)
    chosen: list[PhotoLabels] = []
    # Small sets first: the larger ones get what these leave over.
    for number, members in enumerate(sorted(by_set.values(), key=len)):
        share = min(len(members), (count - len(chosen)) // (len(by_set) - number))
        chosen += [members[(2 * k + 1) * len(members) // (2 * share)] for k in range(share)]
    return sorted(chosen, key=lambda photo: photo.source.stem)


def drawn(labels: PhotoLabels) -> Image.Image:
    """Return a photo with its boxes, in a color for each class; raises DataError if damaged."""
    if labels.photo is None:
        raise DataError(labels.source, "has no photo")
    image = _decoded(labels.photo)
    pen = ImageDraw.Draw(image)
    width = max(2, round(image.width / 180))
    for box, name in zip(labels.boxes_xyxy.tolist(), labels.class_names, strict=True):
        x1, y1, x2, y2 = box
        # A rectangle is drawn inwards, so that its outer edge is the box.
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            corners = (x1, y1, x2 - 1, y2 - 1)
            pen.rectangle(corners, outline=COLORS.get(name.lower(), _OTHER), width=width)
    return image


def _decoded(photo: Path) -> Image.Image:
    try:
        with Image.open(photo) as file:
            image: Image.Image = file.convert("RGB")
    except Exception as error:  # Pillow's decoders have no error of their own for damaged files
        raise DataError(photo, f"cannot be decoded: {error}") from error
    return image


def contact_sheet(tiles: Sequence[tuple[str, Image.Image]], counts: Counter[str]) -> Image.Image:
    """Return named photos of one size side by side in one picture, under a legend of the counts."""
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
        pen.rectangle((x, 12, x + 16, 28), fill=COLORS.get(name.lower(), _OTHER))
        pen.text((x + 22, 9), text, fill=_TEXT, font=font)
        x += 22 + pen.textlength(text, font=font) + 24
