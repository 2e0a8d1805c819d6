"""JSON Lines: one photo a line, for ``jq``, pandas and the like.

A line has ``photo``, ``image_id``, ``size_wh`` and ``channels``, and ``faces``, each as
:meth:`facekit.faces.Face.to_dict` gives it. Photos without faces have a line too.
A name that is no UTF-8 has escapes in ``photo``, and its bytes in ``photo_hex``.
"""

from __future__ import annotations

from pathlib import Path

from facekit.annotations.coco import to_line
from facekit.annotations.dataset import DatasetInfo, PhotoSource, name_fields, photos_with_faces
from facekit.annotations.output import output_file


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
