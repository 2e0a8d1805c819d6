"""The photos of KITTI folders, decoded once and kept, with the faces of a spec's classes."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.errors import DataError
from facekit.labels.kitti import read_kitti
from facekit.labels.listing import stem_number
from facekit.labels.photo_labels import stored_view, upright_labels
from facekit.photos.formats import PHOTO_SUFFIXES
from facekit.progress import ProgressBar
from training.experiment.data import Dataset, DataSource
from training.facesets import load_image

LOGGER = logging.getLogger("training")
IGNORED = -1
"""Class index of an object that is neither a face to find nor background."""
MEMORY_BYTES = 4 << 30
"""Decoded photos kept in memory; what is beyond is decoded each time it is shown."""
Part = Literal["training", "validation"]


@dataclass(frozen=True)
class LabeledPhoto:
    """A photo, its width and height in pixels, and its faces.

    Attributes:
        boxes_xyxy: float32 [n, 4], pixels of the photo.
        classes: int64 [n], index of each box's class, ``IGNORED`` for none.
        pixels: The decoded photo, uint8 [height, width, 3] RGB; None where it is not kept.
    """

    path: Path
    size_wh: tuple[int, int]
    boxes_xyxy: NDArray[np.float32]
    classes: NDArray[np.int64]
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)

    def image(self) -> Image.Image:
        """Return the photo, mode RGB; raises DataError if it was removed or damaged meanwhile."""
        return load_image(self.path) if self.pixels is None else Image.fromarray(self.pixels)


@dataclass(frozen=True)
class PhotoSet:
    """The photos of a part of a data set.

    Attributes:
        photos: In the order of their folders and names; a photo of a folder that a spec lists
            twice stands twice among those to train on, and is in memory once.
        problems: What could not be used; each names its file.
        unmapped: Number of objects by their name in the labels, of names that are no class.
    """

    photos: tuple[LabeledPhoto, ...]
    problems: tuple[DataError, ...]
    unmapped: dict[str, int] = field(default_factory=dict)

    def faces(self, classes: int) -> list[int]:
        """Return the number of faces of each class."""
        every = [photo.classes for photo in self.photos]
        found = np.concatenate([np.zeros(0, np.int64), *every])
        return [int((found == index).sum()) for index in range(classes)]


def read_photos(
    dataset: Dataset,
    part: Part,
    keep_bytes: int = MEMORY_BYTES,
    report: Callable[[str], None] = LOGGER.warning,
) -> PhotoSet:
    """Read the photos and labels of a part of a spec's data.

    A photo that can't be read, or whose label is missing or malformed, is named, counted and left
    out. Without folders of their own, the photos of ``validation_fold`` are for validation, each
    once, and the others for training. ``keep_bytes`` of decoded photos are kept in memory;
    ``report`` takes a line for every photo left out. Raises DataError if a folder is missing, or
    not one photo of it can be used.
    """
    sources = dataset.training
    if part == "validation" and dataset.validation:
        sources = dataset.validation
    files = [pair for source in sources for pair in _pairs(source, dataset.image_extension)]
    if not dataset.validation:
        held_out = _held_out([photo for photo, _ in files], dataset)
        files = [p for p in files if (p[0].resolve() in held_out) == (part == "validation")]
    keys = [(photo.resolve(), label.resolve()) for photo, label in files]
    unique = dict(zip(reversed(keys), reversed(files), strict=True))
    order = list(dict.fromkeys(keys))
    found: dict[tuple[Path, Path], LabeledPhoto] = {}
    problems: list[DataError] = []
    unmapped: Counter[str] = Counter()
    kept = 0
    with (
        ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool,
        ProgressBar(len(order), f"{part} photos") as bar,
    ):
        every = pool.map(lambda key: _read(*unique[key], dataset), order)
        for key, (read, others, wrong) in zip(order, every, strict=True):
            bar.advance(failed=read is None)
            problems += wrong
            unmapped.update(others)
            if read is None:
                continue
            kept += 0 if read.pixels is None else read.pixels.nbytes
            found[key] = read if kept <= keep_bytes else replace(read, pixels=None)
    for problem in problems:
        report(str(problem))
    if not found and not (part == "validation" and not files):
        reason = f"not one usable {part} photo, {len(problems)} unusable"
        raise DataError(sources[0].image_folder, reason)
    shown = keys if part == "training" else order
    photos = tuple(found[key] for key in shown if key in found)
    return PhotoSet(photos, tuple(problems), dict(unmapped))


def _pairs(source: DataSource, extension: str) -> Iterable[tuple[Path, Path]]:
    """Return every photo of a KITTI folder with its label file, which may not exist."""
    for folder in (source.image_folder, source.label_folder):
        if not folder.is_dir():
            raise DataError(folder, "no such folder")
    suffixes: tuple[str, ...] = PHOTO_SUFFIXES
    if extension:
        wanted = f".{extension.lower().lstrip('.')}"
        suffixes = (".jpg", ".jpeg") if wanted in (".jpg", ".jpeg") else (wanted,)
    found = sorted(p for p in source.image_folder.iterdir() if p.suffix.lower() in suffixes)
    if not found:
        raise DataError(source.image_folder, f"contains no photos ({', '.join(suffixes)})")
    return [(photo, source.label_folder / f"{photo.stem}.txt") for photo in found]


def _held_out(photos: list[Path], dataset: Dataset) -> set[Path]:
    """Return the photos that are for validation, as resolved paths.

    The order of the hashed names decides, so the answer is the same on every machine. However
    often a photo is listed, it counts once and is on one side.
    """
    if dataset.validation_fold is None:
        return set()
    order = sorted(dict.fromkeys(p.resolve() for p in photos), key=lambda p: stem_number(p.stem))
    count = 0
    if dataset.validation_share > 0:
        count = min(max(1, round(dataset.validation_share * len(order))), len(order) - 1)
    return set(order[:count] if dataset.validation_fold == 0 else order[count:])


def _read(
    path: Path, label: Path, dataset: Dataset
) -> tuple[LabeledPhoto | None, list[str], list[DataError]]:
    """Return a photo (None if it can't be used), its unmapped names, and what is wrong with it."""
    wrong: list[DataError] = []
    try:
        labels = read_kitti(label, report=wrong.append)
        image = load_image(path)
        # Labels are of the stored pixels; the frame is upright, as a server sees it.
        labels = upright_labels(labels, *stored_view(path))
    except DataError as error:
        return None, [], [*wrong, error]
    index = {name: position for position, name in enumerate(dataset.class_names)}
    found, others = [], []
    for name, ignored in zip(labels.class_names, labels.ignored, strict=True):
        known = dataset.class_of.get(name.lower())
        found.append(IGNORED if ignored or known is None else index.get(known, IGNORED))
        others += [name] if not ignored and known is None else []
    classes = np.array(found, dtype=np.int64)
    limit = np.array([*image.size, *image.size], dtype=np.float32)
    boxes = np.clip(labels.boxes_xyxy.reshape(-1, 4), 0, limit).astype(np.float32)
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    wrong += [
        DataError(label, f"object {k + 1} lies outside {path.name}, {image.width}x{image.height}")
        for k in np.flatnonzero(~inside)
    ]
    photo = LabeledPhoto(path, image.size, boxes[inside], classes[inside], np.asarray(image))
    return photo, others, wrong
