"""Public-domain portraits that installed packages carry, and a group picture made of them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageFilter

from facekit.data import probe_photo
from facekit.outputs import check_own, is_our_picture, picture_bytes

# Public-domain portraits that installed packages carry: Eileen Collins (NASA) and Grace Hopper
# (US Navy). The last entry is where the head and shoulders are.
_PORTRAITS = (
    ("astronaut", "skimage", "data/astronaut.png", (60, 0, 400, 340)),
    ("grace_hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (66, 16, 446, 396)),
)
_WALL_SIZE = (1280, 840)
_WALL_COLOR = (196, 188, 176)
_FRAME_COLOR = (250, 248, 243)
# Which portrait, center in the picture, side in pixels, tilt in degrees, mirrored.
_HANGINGS = (
    (0, (185, 215), 270, 0, False),
    (1, (490, 205), 230, 5, False),
    (0, (770, 225), 200, -8, True),
    (1, (1075, 220), 290, 0, True),
    (1, (150, 600), 190, -6, False),
    (0, (450, 590), 300, 4, True),
    (1, (770, 595), 240, -4, True),
    (0, (990, 605), 140, 12, False),
    (1, (1165, 590), 160, 0, False),
)


def demo_photos(folder: Path) -> list[Path]:
    """Return public-domain portraits, and a group picture of them that is made in ``folder``.

    Without the packages that carry the portraits there is the built-in photo alone. Raises
    DataError if the folder has another file of one of these names, or OSError if not writable.
    """
    portraits = []
    for name, package, inside, _ in _PORTRAITS:
        path = _packaged(package, inside)
        if path is None:
            continue
        # Copied, so that the output folder holds all that belongs to the demo.
        copy = folder / f"{name}{path.suffix}"
        _write_photo(copy, path.read_bytes())
        portraits.append(copy)
    if not portraits:
        path = folder / "probe.jpg"
        _write_photo(path, probe_photo())
        return [path]
    group = folder / "group.jpg"
    check_own(group, is_our_picture)
    group.write_bytes(picture_bytes(hang(heads()), group.suffix))
    return [*portraits, group]


def _write_photo(path: Path, data: bytes) -> None:
    """Write one of the demo's photos; another file of its name is not replaced."""
    check_own(path, lambda there: there.read_bytes() == data)
    path.write_bytes(data)


def heads() -> list[Image.Image]:
    """Return head and shoulders of the portraits whose packages are installed, each a square."""
    packaged = [(_packaged(package, inside), crop) for _, package, inside, crop in _PORTRAITS]
    return [Image.open(path).convert("RGB").crop(crop) for path, crop in packaged if path]


def line_up(
    columns: int, rows: int, side: int, height: int | None = None
) -> tuple[Image.Image, list[tuple[int, int, int]]]:
    """Return a wall of :func:`heads` in rows, and left, top and side of each in pixels.

    A head takes up to ``side`` pixels; the rows stand in the middle of ``height``. Of the heads, in
    turn, every third and fourth are mirrored.
    """
    wall = Image.new("RGB", (columns * side, height or rows * side), _WALL_COLOR)
    above = (wall.height - rows * side) // 2
    portraits, squares = heads(), []
    for i in range(columns * rows):
        own = int(side * (0.78 + 0.04 * (i % 5)))
        picture = portraits[i % len(portraits)].resize((own, own), Image.Resampling.LANCZOS)
        if i // 2 % 2:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, top = (at * side + (side - own) // 2 for at in (i % columns, i // columns))
        wall.paste(picture, (left, above + top))
        squares.append((left, above + top, own))
    return wall, squares


def hang(portraits: Sequence[Image.Image]) -> Image.Image:
    """Return a wall of framed portraits, in several sizes, tilted and mirrored."""
    wall = Image.new("RGB", _WALL_SIZE, _WALL_COLOR)
    for which, center, side, tilt, mirrored in _HANGINGS:
        edge = max(6, side // 18)
        framed = _frame(portraits[which % len(portraits)], side, edge, tilt, mirrored=mirrored)
        corner = (center[0] - framed.width // 2, center[1] - framed.height // 2)
        _cast_shadow(wall, framed, corner, edge)
        wall.paste(framed, corner, framed)
    return wall


def _frame(
    portrait: Image.Image, side: int, edge: int, tilt: float, *, mirrored: bool
) -> Image.Image:
    """Return a tilted portrait in its frame, transparent around it."""
    # Turned at three times its size, so that the frame's edges come out smooth.
    picture = portrait.resize((3 * side, 3 * side), Image.Resampling.LANCZOS)
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    outer = 3 * (side + 2 * edge)
    framed = Image.new("RGBA", (outer, outer), _FRAME_COLOR)
    framed.paste(picture, (3 * edge, 3 * edge))
    return framed.rotate(tilt, Image.Resampling.BICUBIC, expand=True).reduce(3)


def _cast_shadow(
    wall: Image.Image, framed: Image.Image, corner: tuple[int, int], edge: int
) -> None:
    mask = Image.new("L", wall.size)
    shape = framed.getchannel("A").point(lambda value: value * 0.45)
    mask.paste(shape, (corner[0] + edge // 2, corner[1] + edge))
    wall.paste((60, 54, 48), mask=mask.filter(ImageFilter.GaussianBlur(edge)))


def _packaged(package: str, inside: str) -> Path | None:
    """Return a file of an installed package, found without importing the package."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / inside
        if path.is_file():
            return path
    return None
