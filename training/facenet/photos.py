"""All photos of the face sets in one index: in color, with boxes of one convention.

The photos lie decoded in one file that is mapped into memory, so that a frame decodes no JPEG.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.errors import DataError, reading, writing
from facekit.files import whole_file, write_whole
from facekit.labels.folder import POINTS_CLASS, find_labels, turned_upright
from facekit.labels.listing import split_of
from facekit.labels.photo_labels import PhotoLabels
from training.facesets import (
    AFW_FOLDER,
    NO_FACE_FOLDER,
    PORTRAIT_FOLDER,
    PORTRAIT_TEST_FOLDER,
    VOC_FOLDER,
    load_image,
)

LOGGER = logging.getLogger("training")
Boxes = NDArray[np.float32]
"""float32 [n, 4]: x1, y1, x2, y2."""

Points = NDArray[np.float32]
"""float32 [68, 2] of a face in pixels of its photo, or [0, 2] where its points are not known."""

ILC_FOLDER = "masks-ilc"
VIDEO_FOLDER = "landmarks-youtube"
PEOPLE_FOLDER = "people"
PEOPLE_FILE = "boxes.jsonl"
EXTRA_FILE = "extra_boxes.jsonl"
EMPTY_FOLDERS = (NO_FACE_FOLDER, "no-faces-more")
LABELED = {
    VOC_FOLDER: ("crowd", (-0.066, -0.020)),
    ILC_FOLDER: ("crowd", (0.001, 0.029)),
    AFW_FOLDER: ("partial", (0.042, 0.0)),
    PORTRAIT_FOLDER: ("portrait", (0.042, 0.0)),
    VIDEO_FOLDER: ("video", (0.042, 0.0)),
}
"""Kind of the photos of a set with label files, and how far its boxes' tops and bottoms move down.

That is in heights of the box; they then lie where those of ``people`` do. Source: medians of the
edges' distances from one detector's boxes on unmasked faces, top and bottom: Kaggle's +0.161 and
+0.030, masks-ilc +0.094 and -0.019, made of points +0.053 and +0.010, ``people`` +0.095 and +0.010.
"""
UNMASKED = "without_mask"
"""Class of the faces with points: nobody in those sets wears a mask."""
PERHAPS_MASKED = ("cctv", "graystock", "hardhat", "maskcrops", "maskweb", "misc", "plant", "rmfd")
"""Sets of ``people`` in which masks may be worn.

A face of the others counts as unmasked: of 400 that were looked at, among them 75 that an earlier
network took for masked, none wore one.
"""
LONGEST_SIDE = 736
"""Longer photos are kept at this length, in pixels."""
ALIKE = 0.98
"""Correlation from which two photos are taken for copies of each other."""
PIXELS_FILE, INDEX_FILE = "pixels.u8", "index.json"


@dataclass(frozen=True)
class Sample:
    """A photo and its labels.

    Attributes:
        name: Path below the folder of the sets.
        kind: ``crowd``, ``people``, ``portrait``, ``video``, ``partial`` (some faces have no
            label) or ``empty``.
        split: ``training`` or ``calibration``, as ``facekit.labels.listing`` says.
        size_wh: As kept, in pixels.
        boxes: float32 [n, 4], faces in pixels of the photo as kept, in the common convention.
        ignored: float32 [m, 4], regions that neither count nor cost.
        complete: Every face is labeled or lies in an ignored region.
        offset: Its first pixel in the file of pixels.
        classes: Class of each face as its set writes it, "" where that is not known.
        points: 68 points of each face in pixels of the photo as kept, or none.
    """

    name: str
    kind: str
    split: str
    size_wh: tuple[int, int]
    boxes: Boxes
    ignored: Boxes
    complete: bool
    offset: int = 0
    classes: tuple[str, ...] = ()
    points: tuple[Points, ...] = ()


def as_boxes(rows: Any) -> Boxes:
    """Return rows of x1, y1, x2, y2, and maybe more, as float32 [n, 4]."""
    return np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)


def as_points(rows: Any) -> Points:
    """Return rows of x and y as float32 [n, 2]; [0, 2] for None, and where a point is missing."""
    points = np.array([] if rows is None else rows, np.float32).reshape(-1, 2)
    return points if np.isfinite(points).all() else points[:0]


def move_boxes(boxes: Boxes, shift: tuple[float, float]) -> Boxes:
    """Return boxes with their tops and bottoms moved down by shares of their heights."""
    height = boxes[:, 3] - boxes[:, 1]
    result = boxes.copy()
    result[:, 1] += shift[0] * height
    result[:, 3] += shift[1] * height
    return result


def read_boxes(path: Path) -> dict[str, tuple[Boxes, Boxes, tuple[str, ...]]]:
    """Read the faces, the ignored regions, and the faces' classes of photos, by name.

    A face has the class "" where a line gives none. A DataError names a bad line.
    """
    with reading(path):
        lines = path.read_text("utf-8").splitlines()
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            faces, ignored = as_boxes(entry["faces"]), as_boxes(entry["ignore"])
            classes = tuple(map(str, entry.get("classes") or [""] * len(faces)))
            if len(classes) != len(faces):
                raise ValueError("faces and classes differ in number")
            found[entry["file"]] = faces, ignored, classes
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(path, "is not a JSON object of file, faces, ignore", number) from error
    return found


def read_extra(data: Path) -> dict[str, tuple[Boxes, Boxes, tuple[str, ...]]]:
    """Read the faces and ignored regions that the sets' own labels lack; none without the file."""
    path = data / EXTRA_FILE
    return read_boxes(path) if path.exists() else {}


def labeled_photos(folder: Path) -> Iterator[tuple[Path, PhotoLabels]]:
    """Yield the upright photos of a folder and their labels; all must be readable."""
    for labels in find_labels(folder):
        if isinstance(labels, DataError):
            raise labels
        labels = turned_upright(labels)
        assert labels.photo is not None
        yield labels.photo, labels


def _samples(data: Path) -> Iterator[Sample]:
    """Yield every labeled photo, in its own pixels and without size.

    A set whose folder is missing is left out. Splits are by name; of AFW and Helen's training
    photos, which are measured on nowhere, those of the evaluation split are trained on too.
    """
    none = as_boxes([])
    extra = read_extra(data)
    for folder, (kind, shift) in LABELED.items():
        for photo, labels in labeled_photos(data / folder) if (data / folder).is_dir() else ():
            name, split = photo.relative_to(data).as_posix(), split_of(photo.stem)
            if folder == VIDEO_FOLDER:
                split = split_of(photo.stem.rpartition("_")[0])
            elif kind in ("partial", "portrait") and split == "evaluation":
                split = "training"
            more, regions, unknown = extra.get(name, (none, none, ()))
            boxes, counts = move_boxes(labels.boxes_xyxy, shift), ~labels.ignored
            faces = np.concatenate([boxes[counts], more])
            ignored = np.concatenate([boxes[~counts], regions])
            own = np.array(labels.class_names)[counts].tolist()
            names = [UNMASKED if each == POINTS_CLASS else each for each in own]
            points = [labels.points_xy[index] for index in np.flatnonzero(counts)]
            complete = kind == "crowd" or name in extra
            yield Sample(
                *(name, kind, split, (0, 0), faces, ignored, complete),
                classes=(*names, *unknown),
                points=tuple(map(as_points, (*points, *[None] * len(more)))),
            )
    if (data / PEOPLE_FOLDER).is_dir():
        known = read_boxes(data / PEOPLE_FOLDER / PEOPLE_FILE)
        for file, (faces, ignored, classes) in known.items():
            if file.split("/")[0] not in PERHAPS_MASKED:
                classes = (UNMASKED,) * len(faces)
            name, split = f"{PEOPLE_FOLDER}/{file}", split_of(Path(file).stem)
            yield Sample(name, "people", split, (0, 0), faces, ignored, True, classes=classes)
    for folder in EMPTY_FOLDERS:
        for photo in sorted((data / folder).glob("*.jpg")):
            split = split_of(photo.stem)
            yield Sample(f"{folder}/{photo.name}", "empty", split, (0, 0), none, none, True)


def build_index(data: Path, cache: Path) -> None:
    """Decode every photo of the training and calibration splits into the folder ``cache``.

    Photos that look like one of the evaluation split, whatever set they are of, are left out.

    Raises:
        DataError: There are no photos; a label or photo cannot be read, or a file be written.
    """
    found = list(_samples(data))
    samples = [sample for sample in found if sample.split != "evaluation"]
    if not samples:
        raise DataError(data, "contains no photos of the face sets")
    guarded = [data / sample.name for sample in found if sample.split == "evaluation"]
    guarded += (data / PORTRAIT_TEST_FOLDER).glob("*.jpg")
    copies = np.array([_thumb(load_image(path)) for path in guarded])
    kept: list[dict[str, Any]] = []
    offset = 0
    with writing(cache / PIXELS_FILE), whole_file(cache / PIXELS_FILE, sync=False) as file:
        for sample in samples:
            image = load_image(data / sample.name)
            if len(copies) and (copies @ _thumb(image)).max() >= ALIKE:
                LOGGER.info("%s is left out: it looks like an evaluation photo", sample.name)
                continue
            scale = min(1.0, LONGEST_SIDE / max(image.size))
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            factor = np.array([size[0] / image.width, size[1] / image.height] * 2, np.float32)
            boxes, ignored = sample.boxes * factor, sample.ignored * factor
            points = [(each * factor[:2]).tolist() for each in sample.points]
            row = asdict(replace(sample, size_wh=size, offset=offset, points=()))
            lists = {"boxes": boxes.tolist(), "ignored": ignored.tolist(), "points": points}
            kept.append({**row, **lists})
            file.write(np.asarray(image.resize(size, Image.Resampling.BILINEAR)).tobytes())
            offset += size[0] * size[1]
    with writing(cache / INDEX_FILE):
        write_whole(cache / INDEX_FILE, json.dumps(kept))


def _thumb(image: Image.Image) -> NDArray[np.float32]:
    """Return a gray 16x16 picture as a vector of length 1 around its mean, to tell copies by."""
    gray = image.convert("L").resize((16, 16), Image.Resampling.BOX)
    small = np.asarray(gray, np.float32).ravel()
    small = small - small.mean()
    result: NDArray[np.float32] = small / max(float(np.linalg.norm(small)), 1e-6)
    return result


class Photos:
    """What ``build_index`` wrote into a folder; a DataError is raised where it is damaged.

    Attributes:
        path: The index file.
        samples: The photos.
    """

    def __init__(self, cache: Path) -> None:
        self.path = path = cache / INDEX_FILE
        with reading(path):
            text = path.read_text("utf-8")
        self.samples: list[Sample] = []
        try:
            with reading(cache / PIXELS_FILE):
                self._pixels = np.memmap(cache / PIXELS_FILE, np.uint8, "r").reshape(-1, 3)
            for row in json.loads(text):
                size = (int(row["size_wh"][0]), int(row["size_wh"][1]))
                boxes = {key: as_boxes(row[key]) for key in ("boxes", "ignored")}
                # Folders that were decoded before classes were read have none.
                classes = tuple(row.get("classes", ())) or ("",) * len(boxes["boxes"])
                points = tuple(map(as_points, row.get("points", ())))
                faces = {"classes": classes, "points": points}
                self.samples.append(Sample(**{**row, **boxes, **faces, "size_wh": size}))
                if self.samples[-1].offset + size[0] * size[1] > len(self._pixels):
                    raise ValueError("pixels are missing")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(path, f"is damaged: {error}; remove it to build it again") from error

    def image(self, sample: Sample) -> Image.Image:
        """Return a sample's photo, mode RGB."""
        width, height = sample.size_wh
        part = self._pixels[sample.offset : sample.offset + width * height]
        return Image.fromarray(np.array(part).reshape(height, width, 3))
