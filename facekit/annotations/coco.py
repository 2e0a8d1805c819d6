"""COCO keypoint files: written as a stream, one entry a line.

They are what pycocotools, DALI's COCO reader and FiftyOne load. Boxes are x, y, width, height;
every point is visible (2), except one that a dataset that was read in does not have (0, at 0, 0).
``keypoint_scores``, one a point, is the kit's own field, which other readers pass over, as is
``file_name_hex``: the bytes of a file name that is no UTF-8, whose ``file_name`` has escapes.

With ``seed_fields`` an image also has ``channels`` where they are known, and a face ``rotation`` in
degrees (null where both eyes lie at one place), ``center`` between the eyes, and ``segmentation``:
its points in order as one polygon, ``[[x1, y1, x2, y2, ...]]``. Faces of a model without points
have none of the three.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import facekit
from facekit.annotations.dataset import (
    DatasetInfo,
    Layout,
    NumberedPhoto,
    PhotoSource,
    name_fields,
    photos_with_faces,
    utf8_name,
)
from facekit.annotations.output import DESCRIPTION, scratch_file, whole_file
from facekit.annotations.record import PIXEL_DIGITS, SCORE_DIGITS, rounded_list
from facekit.faces import Face, Faces
from facekit.landmarks.eyes import has_eyes

FACE = "face"
"""Name of the one category where the model tells no classes."""
_VISIBLE = 2


def write_coco(
    path: Path, photos: PhotoSource, info: DatasetInfo, *, seed_fields: bool = False
) -> None:
    """Write a COCO file; its bytes depend on the photos and ``info`` alone.

    Args:
        path: The file; what was there before stays until the new one is whole.
        photos: Called once.
        info: What holds for all photos.
        seed_fields: Whether to write ``channels``, ``rotation``, ``center`` and ``segmentation``.

    Raises:
        DataError: The file can't be written, such as on a full disk, or the photos come from
            models that give different points or classes.
    """
    _write(path, photos, info, seed_fields=seed_fields, folder=None)


def write_fiftyone(path: Path, photos: PhotoSource, info: DatasetInfo) -> None:
    """Write the labels of a FiftyOne ``COCODetectionDataset``: COCO with absolute file names.

    FiftyOne then finds the photos by itself, wherever they are. Its own ``FiftyOneDataset`` is a
    dump of its database that changes with its versions, and nothing to write from outside. A photo
    whose name is no UTF-8 is left out: its database can't hold one, and refuses the whole file.

    Args:
        path: The file, which is ``labels_path`` in FiftyOne.
        photos: Called once.
        info: What holds for all photos.

    Raises:
        DataError: As :func:`write_coco` does.
    """

    def held() -> Iterator[NumberedPhoto]:
        return (photo for photo in photos() if utf8_name(photo.record.photo) == photo.record.photo)

    _write(path, held, info, seed_fields=False, folder=PurePosixPath(info.photo_folder))


def _write(
    path: Path,
    photos: PhotoSource,
    info: DatasetInfo,
    *,
    seed_fields: bool,
    folder: PurePosixPath | None,
) -> None:
    """Write the images as they pass and the annotations behind them, names below ``folder``."""
    layout = Layout(path, info)
    with whole_file(path) as out, scratch_file(path) as later:
        head = {
            "description": DESCRIPTION,
            "version": facekit.__version__,
            **({"model": info.model} if info.model else {}),
            **name_fields("photo_folder", info.photo_folder),
        }
        out.write(b'{\n"info":' + to_line(head) + b',\n"licenses":[],\n"images":[')
        images = faces_written = 0
        for image_id, name, faces in photos_with_faces(photos):
            layout.see(name, faces)
            file_name = name if folder is None else str(folder / name)
            _write_entry(out, image_entry(image_id, file_name, faces, seed_fields), images)
            images += 1
            for face, label in zip(faces, face_labels(faces), strict=True):
                entry = annotation_entry(face, faces_written + 1, image_id, label + 1, seed_fields)
                _write_entry(later, entry, faces_written)
                faces_written += 1
        out.write(b'\n],\n"annotations":[')
        later.seek(0)
        shutil.copyfileobj(later, out, 1 << 20)
        out.write(b'\n],\n"categories":[')
        for number, category in enumerate(category_entries(layout)):
            _write_entry(out, category, number)
        out.write(b"\n]\n}\n")


def to_line(entry: Any) -> bytes:
    """Return compact JSON in ASCII."""
    return json.dumps(entry, separators=(",", ":"), allow_nan=False).encode()


def _write_entry(out: BinaryIO, entry: dict[str, Any], before: int) -> None:
    out.write((b",\n" if before else b"\n") + to_line(entry))


def image_entry(image_id: int, name: str, faces: Faces, seed_fields: bool) -> dict[str, Any]:
    """Return one of a file's ``images``."""
    width, height = faces.size_wh
    entry: dict[str, Any] = {"id": image_id, "width": width, "height": height}
    if seed_fields and faces.channels:  # 0: nobody tells
        entry["channels"] = faces.channels
    return entry | name_fields("file_name", name)


def face_labels(faces: Faces) -> list[int]:
    """Return the place of each face's category, from 0."""
    labels: list[int] = faces.labels.tolist()
    return labels if faces.class_names else [0] * len(faces)


def annotation_entry(
    face: Face, number: int, image_id: int, category_id: int, seed_fields: bool
) -> dict[str, Any]:
    """Return one of a file's ``annotations``, with ``number`` as its id."""
    x1, y1, x2, y2 = rounded_list(face.box_xyxy, PIXEL_DIGITS)
    width, height = round(x2 - x1, PIXEL_DIGITS), round(y2 - y1, PIXEL_DIGITS)
    entry: dict[str, Any] = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, PIXEL_DIGITS),
        "iscrowd": 0,
        "score": round(face.score, SCORE_DIGITS),
    }
    if len(face.points_xy):
        entry |= _keypoints(face)
        if seed_fields:
            entry |= _seed_fields(face, entry["keypoints"])
    return entry


def _keypoints(face: Face) -> dict[str, Any]:
    scores = rounded_list(face.point_scores, SCORE_DIGITS)
    keypoints: list[float] = []
    visible = 0
    for (x, y), score in zip(rounded_list(face.points_xy, PIXEL_DIGITS), scores, strict=True):
        # COCO's sign for a point that is not there, which the reader turns into these zeros.
        seen = bool(x or y or score)
        keypoints += [x, y, _VISIBLE if seen else 0]
        visible += seen
    return {"keypoints": keypoints, "num_keypoints": visible, "keypoint_scores": scores}


def _seed_fields(face: Face, keypoints: list[float]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if has_eyes(len(face.points_xy)):
        rotation = round(face.rotation_deg, PIXEL_DIGITS)
        fields["rotation"] = None if math.isnan(rotation) else rotation
        fields["center"] = rounded_list(face.center_xy, PIXEL_DIGITS)
    polygon = [0.0] * (2 * len(face.points_xy))
    polygon[::2], polygon[1::2] = keypoints[::3], keypoints[1::3]
    return fields | {"segmentation": [polygon]}


def category_entries(layout: Layout) -> list[dict[str, Any]]:
    """Return a file's ``categories``."""
    points: dict[str, Any] = {}
    if layout.point_count:
        lines = [[first + 1, second + 1] for first, second in layout.skeleton]
        points = {"keypoints": list(layout.point_names), "skeleton": lines}
    return [
        {"id": number, "name": name, "supercategory": "person", **points}
        for number, name in enumerate(layout.class_names or (FACE,), 1)
    ]
