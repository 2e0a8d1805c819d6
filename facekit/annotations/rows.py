"""One photo a row, its faces as a list of records: JSON Lines and Parquet.

JSON Lines are for ``jq``, pandas and the like. A line has ``photo``, ``image_id``, ``size_wh`` and
``channels``, and ``faces``, each as :meth:`facekit.faces.Face.to_dict` gives it. Photos without
faces have a line too. A name that is not UTF-8 has escapes in ``photo``, and its bytes in
``photo_hex``.

Parquet has row groups of 1,000 photos. A row a photo and not a row a face, so that photos without
faces are there too, and no photo's columns are repeated; DuckDB's ``unnest(faces)`` and pandas'
``explode("faces")`` make it a row a face. A group has fewer photos where they show more than 10,000
faces. The same photos give the same bytes with the same version of pyarrow, whose name is written
into the file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import facekit
from facekit.annotations.coco import to_line
from facekit.annotations.dataset import (
    DatasetInfo,
    PhotoSource,
    name_fields,
    photos_with_faces,
    utf8_name,
)
from facekit.annotations.output import DESCRIPTION, output_file
from facekit.faces import Faces

_GROUP_PHOTOS = 1000
_GROUP_FACES = 10_000
"""About 100 MB of memory while they are written; 1,000 photos of crowds would be many times it."""
_POSE = ("yaw_deg", "pitch_deg", "roll_deg")
_ABOUT = {
    "image_id": "number of the photo in the dataset",
    "photo": "path under photo_folder, see the file's metadata; escaped where it is not UTF-8",
    "width": "pixels of the upright photo",
    "height": "pixels of the upright photo",
    "channels": "of the photo as stored; 0 where nobody tells",
    "face_count": "faces of the photo",
    "faces": "best first",
    "score": "detection score from 0 to 1",
    "class_name": "null where the model tells no classes",
    "x1": "left in pixels",
    "y1": "top in pixels",
    "x2": "right in pixels",
    "y2": "bottom in pixels",
    "rotation_deg": "angle of the eye line in degrees, positive clockwise; null where unknown",
    "center_x": "pixels, midway between the eyes; null where unknown",
    "center_y": "pixels, midway between the eyes; null where unknown",
    "yaw_deg": "degrees that the head turns to the picture's right; null where unknown",
    "pitch_deg": "degrees that it looks up; null where unknown",
    "roll_deg": "degrees that it leans clockwise; null where unknown",
    "sharpness": "of the face for its size, 0 to 1; null where the model does not tell",
    "points_xy": "x and y of each point in pixels, in the order of facekit.landmarks.scheme",
    "point_scores": "how peaked the network's answer for each point was",
}


def write_jsonl(path: Path, photos: PhotoSource, info: DatasetInfo) -> None:
    """Write one line a photo; the bytes depend on the photos alone.

    Args:
        path: The file; what was there before stays until the new one is whole.
        photos: Called once.
        info: Taken as all writers take it; a line says all by itself.

    Raises:
        DataError: The file can't be written, such as on a full disk.
    """
    del info
    with output_file(path) as out:
        for image_id, name, faces in photos_with_faces(photos):
            line = {"image_id": image_id, "channels": faces.channels, **faces.to_dict()}
            out.write(to_line(name_fields("photo", name) | line) + b"\n")


def write_parquet(path: Path, photos: PhotoSource, info: DatasetInfo) -> None:
    """Write a Parquet file; no more than one row group is in memory.

    Args:
        path: The file; what was there before stays until the new one is whole.
        photos: Called once.
        info: Goes into the file's metadata.

    Raises:
        DataError: The file can't be written, such as on a full disk.
        ModuleNotFoundError: pyarrow is not installed; the extra ``parquet`` brings it.
    """
    import pyarrow
    from pyarrow import parquet

    schema = _schema(info)
    with output_file(path) as out, parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        rows = (_row(*photo) for photo in photos_with_faces(photos))
        for group in _groups(rows):
            table = pyarrow.Table.from_pylist(group, schema)
            writer.write_table(table, row_group_size=_GROUP_PHOTOS)


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    faces = 0
    for row in rows:
        group.append(row)
        faces += row["face_count"]
        if len(group) == _GROUP_PHOTOS or faces >= _GROUP_FACES:
            yield group
            group, faces = [], 0
    if group:
        yield group


def _schema(info: DatasetInfo) -> Any:
    import pyarrow as pa

    def column(name: str, kind: Any, *, nullable: bool = False) -> Any:
        return pa.field(name, kind, nullable=nullable, metadata={"description": _ABOUT[name]})

    pixel = pa.float32()
    # What rows are chosen by has the very number that the other formats have: 0.9, not 0.89999998.
    chosen_by = pa.float64()
    face = pa.struct(
        [
            column("score", chosen_by),
            column("class_name", pa.string(), nullable=True),
            *(column(name, pixel) for name in ("x1", "y1", "x2", "y2")),
            column("rotation_deg", chosen_by, nullable=True),
            column("center_x", pixel, nullable=True),
            column("center_y", pixel, nullable=True),
            *(column(name, chosen_by, nullable=True) for name in (*_POSE, "sharpness")),
            column("points_xy", pa.list_(pa.list_(pixel))),
            column("point_scores", pa.list_(pa.float32())),
        ]
    )
    columns = [
        column("image_id", pa.int64()),
        column("photo", pa.string()),
        column("width", pa.int32()),
        column("height", pa.int32()),
        column("channels", pa.int8()),
        column("face_count", pa.int32()),
        column("faces", pa.list_(face)),
    ]
    about = {
        "description": DESCRIPTION,
        "version": facekit.__version__,
        "model": info.model,
        "photo_folder": utf8_name(info.photo_folder),
    }
    return pa.schema(columns, metadata={f"facekit.{key}": text for key, text in about.items()})


def _row(image_id: int, name: str, faces: Faces) -> dict[str, Any]:
    width, height = faces.size_wh
    return {
        "image_id": image_id,
        "photo": utf8_name(name),
        "width": width,
        "height": height,
        "channels": faces.channels,
        "face_count": len(faces),
        "faces": [_face(data) for data in faces.to_dict()["faces"]],
    }


def _face(data: dict[str, Any]) -> dict[str, Any]:
    x1, y1, x2, y2 = data["box_xyxy"]
    center_x, center_y = data["center_xy"] or (None, None)
    pose = dict(zip(_POSE, data["pose_deg"] or (None, None, None), strict=True))
    same = ("score", "rotation_deg", "sharpness", "points_xy", "point_scores")
    return (
        {key: data[key] for key in same}
        | pose
        | {
            "class_name": data.get("class_name"),
            "x1": x1,
            "y1": y1,
            "x2": x2,
            "y2": y2,
            "center_x": center_x,
            "center_y": center_y,
        }
    )
