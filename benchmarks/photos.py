"""The photos that are sent: mosaics of portraits, or the caller's own."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from facekit.errors import PhotoError
from facekit.photos.formats import PHOTO_SUFFIXES

_VARIANTS = 4  # so that no two requests in a row are the same
_NOISE = 3.0


@dataclass(frozen=True)
class PhotoSet:
    """Encoded photos, uint8 (n,), that are measured together; ``faces`` each, if that is known."""

    name: str
    photos: tuple[npt.NDArray[np.uint8], ...]
    faces: int | None = None


def mosaics(size_wh: tuple[int, int], faces: int) -> PhotoSet:
    """Return JPEGs with ``faces`` portraits each, the same at every call.

    The portraits are two photos of NASA and of the US Navy in the public domain, which
    scikit-image and Matplotlib carry; some are mirrored, all lit differently.
    """
    photos = tuple(_mosaic(size_wh, faces, seed) for seed in range(_VARIANTS))
    return PhotoSet(f"{size_wh[0]}x{size_wh[1]}, {faces} faces", photos, faces)


def own_photos(paths: Sequence[Path]) -> PhotoSet:
    """Read photos, or those of a folder; raises PhotoError if there are none or one can't be."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        else:
            files.append(path)
    if not files:
        raise PhotoError(f"no photos in {', '.join(map(str, paths))}")
    try:
        photos = tuple(np.fromfile(file, np.uint8) for file in files)
    except OSError as error:
        raise PhotoError(f"{error.filename}: {error.strerror}") from error
    return PhotoSet(f"{len(photos)} own photos", photos)


def write_folder(path: Path, photos: PhotoSet, count: int) -> tuple[list[Path], str]:
    """Write photos as ``count`` files, in turns; return these, and the report's name of them."""
    path.mkdir()
    files = [path / f"{k:05}.jpg" for k in range(count)]
    for k, file in enumerate(files):
        photos.photos[k % len(photos.photos)].tofile(file)
    return files, f"{count} photos, {photos.name}"


def _mosaic(size_wh: tuple[int, int], faces: int, seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    width, height = size_wh
    # The layout whose tiles are the nearest to square.
    rows = min(range(1, faces + 1), key=lambda r: abs(np.log(width * r / height / -(-faces // r))))
    columns = -(-faces // rows)
    canvas = Image.new("RGB", size_wh, (96, 110, 120))
    edges_x = np.linspace(0, width, columns + 1).astype(int)
    edges_y = np.linspace(0, height, rows + 1).astype(int)
    for k in range(faces):
        row, column = divmod(k, columns)
        left, top = edges_x[column], edges_y[row]
        tile = (int(edges_x[column + 1] - left), int(edges_y[row + 1] - top))
        portrait = _portraits()[(k + seed) % 2]
        if rng.random() < 0.5:
            portrait = ImageOps.mirror(portrait)
        portrait = ImageOps.fit(portrait, tile, Image.Resampling.LANCZOS)
        portrait = ImageEnhance.Brightness(portrait).enhance(rng.uniform(0.85, 1.15))
        canvas.paste(portrait, (int(left), int(top)))
    # Sensor noise: smooth pictures compress better and decode faster than real ones.
    noise = rng.standard_normal((height, width, 1), np.float32)
    noisy = np.asarray(canvas, np.float32) + _NOISE * noise
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=90, subsampling="4:2:0"
    )
    return np.frombuffer(buffer.getvalue(), np.uint8)


@lru_cache(maxsize=1)
def _portraits() -> tuple[Image.Image, Image.Image]:
    """Return head and shoulders of both portraits, one face each."""
    import skimage.data
    from matplotlib import cbook

    astronaut = Image.fromarray(skimage.data.astronaut()).crop((100, 10, 350, 260))
    path = Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    with Image.open(path) as image:
        admiral = image.convert("RGB").crop((85, 88, 455, 458))
    return astronaut, admiral
