"""Draw one photo of a sheet: its picture in a frame of fixed size, and two lines about it."""

import io
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw

from facekit import limits
from facekit.annotations.record import PhotoRecord
from facekit.client.photos import read_photo
from facekit.draw import Color, draw_into, open_upright
from facekit.errors import PhotoError
from facekit.faces import Faces
from facekit.photos.blocks import count_scans
from facekit.sheet.pick import Pick, farthest_rotation, lowest_score
from facekit.sheet.text import fitted, font_for, wrapped, writable
from facekit.text import count, one_line

GROUND: Color = (13, 15, 19)
PANEL: Color = (24, 27, 33)
BRIGHT: Color = (236, 239, 244)
DIM: Color = (148, 156, 168)
_FAILED: Color = (255, 122, 110)
_FAILED_PANEL: Color = (40, 24, 26)
_SHADE = 0.72
_LARGEST_ZOOM = 2.0
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class TileSize:
    """Sizes of a tile's parts in pixels, all in proportion to its width."""

    width: int

    @property
    def picture(self) -> tuple[int, int]:
        """Width and height of the frame: 4 to 3."""
        return self.width, self.width * 3 // 4

    @property
    def letters(self) -> float:
        """Height of the letters of a photo's name."""
        return max(10.0, self.width / 25)

    @property
    def height(self) -> int:
        """Height of the frame and the two lines below it."""
        return self.picture[1] + math.ceil(3.4 * self.letters)


def draw_tile(pick: Pick, photo_folder: Path, size: TileSize, *, pose: bool = False) -> Image.Image:
    """Return a tile; of a photo that can't be read it has the reason, and nothing is raised."""
    record = pick.record
    path = photo_folder / record.photo
    tile = Image.new("RGB", (size.width, size.height), GROUND)
    if record.faces is None:
        picture, about = _failure(path, record.error, size), "failed"
    else:
        try:
            picture = _picture(path, record.faces, size, pose)
            about = _about(record.faces)
        except PhotoError as error:
            reason = str(error).removeprefix(f"{path}: ")
            picture, about = _failure(path, reason, size), "cannot be shown"
            record = PhotoRecord(record.photo, record.stamp, error=reason)
    tile.paste(picture, (0, 0), _round_corners(picture.size, size.width / 60))
    _caption(tile, pick, about, _FAILED if record.faces is None else DIM, size)
    return tile


def scaled(faces: Faces, size_wh: tuple[int, int]) -> Faces:
    """Return faces as they lie in a resized picture of their photo."""
    across, down = (new / old for new, old in zip(size_wh, faces.size_wh, strict=True))
    return replace(
        faces,
        boxes_xyxy=faces.boxes_xyxy * [across, down, across, down],
        points_xy=faces.points_xy * [across, down],
        size_wh=size_wh,
    )


def _picture(path: Path, faces: Faces, size: TileSize, pose: bool) -> Image.Image:
    """Return the photo in its frame, its faces drawn at the frame's own resolution.

    Raises PhotoError if it can't be read, or has changed since its faces were found.
    """
    small = _fitted_picture(open_upright(path, faces.size_wh), size.picture)
    draw_into(small, scaled(faces, small.size), pose=pose)
    return _framed(small, size, PANEL)


def _fitted_picture(image: Image.Image, frame: tuple[int, int]) -> Image.Image:
    zoom = min(frame[0] / image.width, frame[1] / image.height, _LARGEST_ZOOM)
    wanted = max(1, round(image.width * zoom)), max(1, round(image.height * zoom))
    return image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _framed(picture: Image.Image, size: TileSize, color: Color) -> Image.Image:
    frame = Image.new("RGB", size.picture, color)
    left, top = (frame.width - picture.width) // 2, (frame.height - picture.height) // 2
    frame.paste(picture, (left, top))
    return frame


def _failure(path: Path, reason: str, size: TileSize) -> Image.Image:
    """Return a dark tile with the reason over the part of the photo that can be decoded."""
    picture = broken_picture(path)
    dark = Image.new("RGB", size.picture, _FAILED_PANEL)
    if picture is not None:
        small = _fitted_picture(picture, size.picture)
        dark = Image.blend(_framed(small, size, _FAILED_PANEL), dark, _SHADE)
    draw = ImageDraw.Draw(dark)
    letters = size.letters
    lines = wrapped(writable(one_line(reason)), letters, size.width - 4 * letters, 6)
    center, top = size.width / 2, size.picture[1] / 2 - 0.75 * letters * len(lines)
    radius = 1.1 * letters
    draw.ellipse(
        (center - radius, top - 2 * radius, center + radius, top),
        outline=_FAILED,
        width=max(2, round(letters / 8)),
    )
    draw.text(
        (center, top - radius), "!", fill=_FAILED, font=font_for("!", 1.3 * letters), anchor="mm"
    )
    for k, line in enumerate(lines):
        at = (center, top + (1.3 + 1.4 * k) * letters)
        draw.text(at, line, fill=BRIGHT, font=font_for(line, letters), anchor="mm")
    return dark


def broken_picture(path: Path) -> Image.Image | None:
    """Return the part of a refused photo that its file still holds; None if there is none.

    A file of a kind that the server does not take, such as a GIF, may well be a picture. One over
    the kit's limits is never decoded.
    """
    try:
        data = read_photo(path).tobytes()
        with warnings.catch_warnings():
            # Pillow warns of the very sizes that are refused next, and of metadata.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                limits.check_size(image.width, image.height, image.format or "")
                if data.startswith(b"\xff\xd8"):
                    limits.check_scans(count_scans(data))
                try:
                    picture: Image.Image = image.convert("RGB")
                except OSError:
                    # Cut off. An end-of-image marker lets a JPEG decoder give what it has.
                    with Image.open(io.BytesIO(data + _END_OF_IMAGE)) as rest:
                        picture = rest.convert("RGB")
                return picture
    # Pillow's decoders raise errors of many kinds; whichever it is, there is nothing to see.
    except Exception:
        return None


def _about(faces: Faces) -> str:
    if not len(faces):
        return "no face"
    score = lowest_score(faces)
    parts = [count(len(faces), "face")]
    parts.append(f"score {score:.2f}" if len(faces) == 1 else f"lowest score {score:.2f}")
    rotation = farthest_rotation(faces)
    if math.isfinite(rotation):
        parts.append(f"turned {abs(rotation):.0f}\N{DEGREE SIGN}")
    return " \N{MIDDLE DOT} ".join(parts)


def _caption(tile: Image.Image, pick: Pick, about: str, color: Color, size: TileSize) -> None:
    draw = ImageDraw.Draw(tile)
    letters, room = size.letters, float(size.width)
    top = size.picture[1] + 0.55 * letters
    if pick.why:
        small = font_for(pick.why, 0.85 * letters)
        wide = small.getlength(pick.why) + letters
        box = (size.width - wide, top - 0.1 * letters, size.width - 1, top + 1.25 * letters)
        draw.rounded_rectangle(box, radius=0.65 * letters, fill=PANEL)
        middle = (size.width - wide / 2, top + 0.58 * letters)
        draw.text(middle, pick.why, fill=DIM, font=small, anchor="mm")
        room -= wide + 0.5 * letters
    name = fitted(writable(pick.record.photo), letters, room)
    draw.text((0, top), name, fill=BRIGHT, font=font_for(name, letters))
    about = fitted(about, 0.85 * letters, size.width)
    draw.text((0, top + 1.4 * letters), about, fill=color, font=font_for(about, 0.85 * letters))


def _round_corners(size_wh: tuple[int, int], radius: float) -> Image.Image:
    finer = 4
    mask = Image.new("L", (size_wh[0] * finer, size_wh[1] * finer))
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=radius * finer, fill=255)
    return mask.reduce(finer)
