"""Readers of the public face sets: photos with boxes or points, and crops of faces."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.draw import open_upright
from facekit.errors import DataError, PhotoError, reading
from facekit.labels.folder import find_labels, turned_upright
from facekit.labels.pts import POINT_COUNT, present

VOC_FOLDER = "face-mask-detection"
AFW_FOLDER = "300w/afw"
PORTRAIT_FOLDER = "300w/helen-train"
PORTRAIT_TEST_FOLDER = "300w/helen-test"
NO_FACE_FOLDER = "no-faces"
WEBFACE_FILE = "caltech-webfaces-36px.npz"
CROP_SIZE = 36
CROP_FACE_BOX: tuple[float, float, float, float] = (7.5, 6.5, 28.5, 32.5)
"""Where the face lies in a web-face crop: mid-forehead to chin, cheek to cheek."""
LEAST_ANNOTATED = 0.5
"""Share of iBUG's points that a partly annotated face needs: from fewer, its box is a guess."""


def _no_boxes() -> NDArray[np.float32]:
    return np.zeros((0, 4), dtype=np.float32)


@dataclass(frozen=True)
class Photo:
    """A photo and its faces.

    Attributes:
        name: File stem.
        image: The decoded photo, upright, mode RGB.
        boxes: float32 [n, 4]: x1, y1, x2, y2 in pixels of the upright photo.
        complete: Every face is annotated, so the rest of the photo is background.
        points: The points of each face, float32 [68, 2] each (or 80, or 104; NaN where a point is
            not annotated); empty where no face has any.
    """

    name: str
    image: Image.Image
    boxes: NDArray[np.float32] = field(default_factory=_no_boxes)
    complete: bool = True
    points: tuple[NDArray[np.float32], ...] = ()


def load_image(path: Path) -> Image.Image:
    """Decode a photo as the server does: upright, in RGB, transparent pixels over white.

    Raises DataError if the file is missing, damaged, not a picture, or over a limit of
    ``facekit.limits``.
    """
    try:
        if not path.exists():
            raise DataError(path, "no such file")
        image = open_upright(path)
        image.load()
    except (PhotoError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError(path, f"cannot be decoded: {reason}") from error
    return image


def pts_photos(
    folder: Path,
    complete: bool,
    point_count: int = POINT_COUNT,
    report: Callable[[DataError], None] | None = None,
) -> Iterator[Photo]:
    """Yield the photos of a 300-W folder with the points and boxes of their faces.

    Args:
        folder: Folder of the photos and their ``.pts`` files, see ``find_labels``.
        complete: Every face of a photo is annotated.
        point_count: 68, 80 or 104. A face of a larger scheme loses its further points.
        report: Takes what is wrong with a face or photo, which is then left out, and lets faces
            be annotated in part, or by a smaller scheme. Without it whatever is wrong or absent is
            raised as a DataError, as a folder without ``.pts`` files always is.
    """
    least = 1.0 if report is None else LEAST_ANNOTATED

    def refuse(error: DataError) -> None:
        if report is None:
            raise error
        report(error)

    for labels in find_labels(folder):
        try:
            if isinstance(labels, DataError):
                raise labels
            labels = turned_upright(labels)
        except DataError as error:
            refuse(error)
            continue
        faces = [_scheme(face, point_count) for face in labels.points_xy]
        shares = [float(present(face[:POINT_COUNT]).mean()) for face in faces]
        kept = [index for index, share in enumerate(shares) if share >= least]
        for share in shares:
            if share < least:
                reason = f"a face has {share:.0%} of the {POINT_COUNT} points, needed {least:.0%}"
                refuse(DataError(labels.source, reason))
        if labels.photo is None or not kept:
            continue
        try:
            image = load_image(labels.photo)
        except DataError as error:
            refuse(error)
            continue
        points = tuple(faces[index] for index in kept)
        yield Photo(labels.photo.stem, image, labels.boxes_xyxy[kept], complete, points)


def _scheme(points: NDArray[np.float32] | None, count: int) -> NDArray[np.float32]:
    """Cut or fill up a face's points to a scheme: float32 [count, 2], NaN where absent."""
    filled = np.full((count, 2), np.nan, dtype=np.float32)
    if points is not None:
        shared = min(count, len(points))
        filled[:shared] = points[:shared]
    return filled


def read_webfaces(path: Path) -> NDArray[np.uint8]:
    """Read gray web-face crops, uint8 [n, 36, 36], of a ``.npz`` file with the array ``faces``.

    Raises DataError if the file is missing, damaged, or holds something else.
    """
    try:
        with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            faces: NDArray[np.uint8] = archive["faces"]
    except KeyError:
        raise DataError(path, "has no array named 'faces'") from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(path, f"cannot be read: {error}") from error
    if faces.dtype != np.uint8 or faces.ndim != 3 or faces.shape[1:] != (CROP_SIZE, CROP_SIZE):
        raise DataError(path, f"'faces' is {faces.dtype} {list(faces.shape)}, not uint8 [n,36,36]")
    return faces
