"""COCO keypoint files: written as a stream, one entry a line.

They are what pycocotools, DALI's COCO reader and FiftyOne load. Boxes are x, y, width, height;
every point is visible (2), except one that a dataset that was read in does not have (0, at 0, 0).
``keypoint_scores``, one a point, is the kit's own field, which other readers pass over, as is
``file_name_hex``: the bytes of a file name that is not UTF-8, whose ``file_name`` has escapes.
``sharpness`` is another, of each face where the model tells it.

With ``seed_fields`` an image also has ``channels`` where they are known, and a face ``rotation`` in
degrees (null where both eyes lie at one place), ``center`` between the eyes, ``pose``: yaw, pitch
and roll in degrees (``facekit.landmarks.pose``), and ``segmentation``: its points in order as one
polygon, ``[[x1, y1, x2, y2, ...]]``. Faces of a model without points have none of the four.
"""

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
from facekit.annotations.output import DESCRIPTION, output_file, scratch_file
from facekit.annotations.record import (
    ANGLE_DIGITS,
    PIXEL_DIGITS,
    SCORE_DIGITS,
    optional_list,
    rounded_list,
)
from facekit.faces import Faces
from facekit.landmarks.eyes import has_eyes

FACE = "face"
"""Name of the one category where the model has no classes."""
_VISIBLE = 2


def write_coco(
    path: Path, photos: PhotoSource, info: DatasetInfo, *, seed_fields: bool = False
) -> None:
    """Write a COCO file; its bytes depend on the photos and ``info`` alone.

    Args:
        path: The file; what was there before stays until the new one is whole.
        photos: Called once.
        info: Properties of the whole dataset.
        seed_fields: Whether to write ``channels``, ``rotation``, ``center``, ``pose`` and
            ``segmentation``.

    Raises:
        DataError: The file can't be written, such as on a full disk, or the photos come from
            models that give different points or classes.
    """
    _write(path, photos, info, seed_fields=seed_fields, folder=None)


def write_fiftyone(path: Path, photos: PhotoSource, info: DatasetInfo) -> None:
    """Write the labels of a FiftyOne ``COCODetectionDataset``: COCO with absolute file names.

    FiftyOne then finds the photos by itself, wherever they are. Its own ``FiftyOneDataset`` is a
    dump of its database that changes with its versions, and nothing to write from outside. A photo
    whose name is not UTF-8 is left out: its database can't hold one, and refuses the whole file.

    Args:
        path: The file, which is ``labels_path`` in FiftyOne.
        photos: Called once.
        info: Properties of the whole dataset.

    Raises:
        DataError: As :func:`write_coco` does.
    """

    def utf8_named() -> Iterator[NumberedPhoto]:
        return (photo for photo in photos() if utf8_name(photo.record.photo) == photo.record.photo)

    _write(path, utf8_named, info, seed_fields=False, folder=PurePosixPath(info.photo_folder))


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
    with output_file(path) as out, scratch_file(path) as later:
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
            for entry in annotation_entries(faces, faces_written + 1, image_id, seed_fields):
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
    if seed_fields and faces.channels:  # 0: unknown
        entry["channels"] = faces.channels
    return entry | name_fields("file_name", name)


def face_labels(faces: Faces) -> list[int]:
    """Return the place of each face's category, from 0."""
    labels: list[int] = faces.labels.tolist()
    return labels if faces.class_names else [0] * len(faces)


def annotation_entries(
    faces: Faces, first: int, image_id: int, seed_fields: bool
) -> Iterator[dict[str, Any]]:
    """Yield a photo's ``annotations``, whose ids count up from ``first``."""
    numbers = zip(
        face_labels(faces),
        rounded_list(faces.boxes_xyxy, PIXEL_DIGITS),
        rounded_list(faces.scores, SCORE_DIGITS),
        optional_list(faces.sharpness, SCORE_DIGITS),
        strict=True,
    )
    points = _points(faces, seed_fields)
    for number, (label, (x1, y1, x2, y2), score, sharpness) in enumerate(numbers):
        width, height = round(x2 - x1, PIXEL_DIGITS), round(y2 - y1, PIXEL_DIGITS)
        yield {
            "id": first + number,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [x1, y1, width, height],
            "area": round(width * height, PIXEL_DIGITS),
            "iscrowd": 0,
            "score": score,
            **({} if sharpness is None else {"sharpness": sharpness}),
            **next(points, {}),
        }


def _points(faces: Faces, seed_fields: bool) -> Iterator[dict[str, Any]]:
    """Yield the fields of each face's landmarks; of all at once, which saves half the time."""
    count = faces.points_xy.shape[1]
    if not count:
        return
    known = seed_fields and has_eyes(count)
    rotations = rounded_list(faces.rotations_deg, PIXEL_DIGITS) if known else []
    centers = rounded_list(faces.centers_xy, PIXEL_DIGITS) if known else []
    poses = optional_list(faces.poses_deg, ANGLE_DIGITS) if known else []
    flat = rounded_list(faces.points_xy.reshape(len(faces), -1), PIXEL_DIGITS)
    scores = rounded_list(faces.point_scores, SCORE_DIGITS)
    # COCO's mark of a missing point, which the reader turns into these zeros.
    seen = faces.points_xy.any(axis=2) | (faces.point_scores != 0)
    for face, polygon in enumerate(flat):
        keypoints: list[float] = [0] * (3 * count)
        keypoints[::3], keypoints[1::3] = polygon[::2], polygon[1::2]
        keypoints[2::3] = (_VISIBLE * seen[face]).tolist()
        fields: dict[str, Any] = {
            "keypoints": keypoints,
            "num_keypoints": int(seen[face].sum()),
            "keypoint_scores": scores[face],
        }
        if known:
            rotation = rotations[face]
            fields["rotation"] = None if math.isnan(rotation) else rotation
            fields["center"] = centers[face]
            fields["pose"] = poses[face]
        if seed_fields:
            fields["segmentation"] = [polygon]
        yield fields


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
