"""The face sets as lists of photos with boxes or points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from facekit.datasets.splits import split_of
from facekit.errors import DataError
from facekit.labels.pts import face_box, read_pts
from facekit.labels.voc import read_voc

VOC_FOLDER = "face-mask-detection"
AFW_FOLDER = "300w/afw"
PORTRAIT_FOLDER = "300w/helen-train"
PORTRAIT_TEST_FOLDER = "300w/helen-test"
NO_FACE_FOLDER = "no-faces"
WEBFACE_FILE = "caltech-webfaces-36px.npz"


def _no_boxes() -> NDArray[np.float32]:
    return np.zeros((0, 4), dtype=np.float32)


@dataclass(frozen=True)
class Photo:
    """A photo and its faces.

    Attributes:
        name: File stem.
        image: The decoded photo, mode RGB.
        boxes: float32 [n, 4]: x1, y1, x2, y2 in pixels.
        complete: Every face is annotated, so the rest of the photo is background.
        points: The 68 points of each face, float32 [68, 2] each; empty where not annotated.
    """

    name: str
    image: Image.Image
    boxes: NDArray[np.float32] = field(default_factory=_no_boxes)
    complete: bool = True
    points: tuple[NDArray[np.float32], ...] = ()


def load_image(path: Path) -> Image.Image:
    """Decode a photo to RGB.

    Raises:
        DataError: The file is missing, damaged, or not a picture.
    """
    try:
        with Image.open(path) as image:
            converted: Image.Image = image.convert("RGB")
            return converted
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(path, f"cannot be decoded: {error}") from error


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder in name order; an absent or empty folder is an error."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    found = sorted(folder.glob(pattern))
    if not found:
        raise DataError(folder, f"holds no {pattern}")
    return found


def voc_photos(data: Path, split: str) -> Iterator[Photo]:
    """Yield the masked-and-unmasked photos of a split, all classes merged as face."""
    for path in _files(data / VOC_FOLDER / "annotations", "*.xml"):
        if split_of(path.stem) != split:
            continue
        annotation = read_voc(path)
        image_path = data / VOC_FOLDER / "images" / f"{path.stem}.jpg"
        image = load_image(image_path)
        if image.size != annotation.size:
            raise DataError(image_path, f"is {image.size}, its annotation says {annotation.size}")
        yield Photo(path.stem, image, annotation.boxes)


def pts_photos(folder: Path, complete: bool) -> Iterator[Photo]:
    """Yield the photos of a 300-W folder with the points and boxes of their faces."""
    for path in _files(folder, "*.jpg"):
        labels = sorted(path.parent.glob(f"{path.stem}_*.pts"))
        labels = [label for label in labels if label.stem.rpartition("_")[0] == path.stem]
        if not labels:
            raise DataError(path, "has no .pts file")
        points = tuple(read_pts(label) for label in labels)
        boxes = np.stack([face_box(face) for face in points])
        yield Photo(path.stem, load_image(path), boxes, complete, points)


def no_face_photos(data: Path, split: str) -> Iterator[Photo]:
    """Yield the photos without a face of a split."""
    for path in _files(data / NO_FACE_FOLDER, "*.jpg"):
        if split_of(path.stem) == split:
            yield Photo(path.stem, load_image(path))
