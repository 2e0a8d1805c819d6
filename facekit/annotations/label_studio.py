"""Label Studio's import format: tasks with predictions, and the labeling configuration for them.

Label Studio counts in percent of the photo, from 0 to 100, and refuses what lies outside, so points
beyond the photo's border are moved onto it and boxes cut at it; all other formats keep them. Each
point is a region of its own with the point's name as its label, and with its face's box as parent.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from facekit.annotations.coco import FACE, to_line
from facekit.annotations.dataset import (
    DatasetInfo,
    Layout,
    PhotoSource,
    photos_with_faces,
    utf8_name,
)
from facekit.annotations.output import config_path, output_file
from facekit.annotations.record import SCORE_DIGITS
from facekit.faces import Face, Faces
from facekit.landmarks.crops import FloatArray
from facekit.landmarks.eyes import has_eyes

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""
_PERCENT_DIGITS = 5
"""0.001 pixels of a photo of 10,000."""
_POINT_WIDTH = 0.3
"""A drawn point's, in percent of the photo."""
_COLORS = {
    "jaw": "#8ab4f8",
    "right_eyebrow": "#c58af9",
    "left_eyebrow": "#c58af9",
    "nose": "#fdd663",
    "right_eye": "#81c995",
    "left_eye": "#81c995",
    "outer_mouth": "#f28b82",
    "inner_mouth": "#ff8bcb",
}
_OTHER_COLOR = "#78d9ec"


def write_label_studio(
    path: Path, photos: PhotoSource, info: DatasetInfo, *, image_url: str | None = None
) -> None:
    """Write the tasks, one a line of a JSON list, and beside them the labeling configuration.

    Args:
        path: The tasks' file; see :func:`config_path` for the other.
        photos: Called once.
        info: Properties of the whole dataset.
        image_url: Prefix of the photos' names in their addresses; when left out, Label
            Studio's own for local files, with the folder above the photo folder as document root.

    Raises:
        DataError: A file can't be written, such as on a full disk, or the photos come from models
            that give different points or classes.
    """
    prefix = f"{LOCAL_FILES}{_quoted(Path(info.photo_folder).name)}/"
    layout = Layout(path, info)
    with output_file(path) as out:
        before = b"[\n"
        for image_id, name, faces in photos_with_faces(photos):
            layout.see(name, faces)
            url = (prefix if image_url is None else image_url) + _quoted(name)
            data = {"image": url, "photo": utf8_name(name), "image_id": image_id}
            prediction: dict[str, Any] = {"result": _regions(faces, layout)}
            if info.model:
                prediction["model_version"] = info.model
            if len(faces):
                # Label Studio sorts tasks by it: the face that is least sure comes first.
                prediction["score"] = round(float(faces.scores.min()), SCORE_DIGITS)
            out.write(before + to_line({"data": data, "predictions": [prediction]}))
            before = b",\n"
        out.write(b"\n]\n" if before == b",\n" else b"[]\n")
        with output_file(config_path(path)) as config:
            config.write(_config(layout).encode())


def _quoted(name: str) -> str:
    return quote(name, errors="surrogateescape")


def _regions(faces: Faces, layout: Layout) -> list[dict[str, Any]]:
    regions: list[dict[str, Any]] = []
    known = has_eyes(faces.points_xy.shape[1])
    poses = faces.poses_deg if known else np.full((len(faces), 3), np.nan, np.float32)
    for number, (face, pose_deg) in enumerate(zip(faces, poses, strict=True), 1):
        box = f"face{number}"
        regions.append(_box(box, face, pose_deg, faces.size_wh))
        for name, (x, y), score in zip(
            layout.point_names, face.points_xy.tolist(), face.point_scores.tolist(), strict=True
        ):
            if not (x or y or score):
                continue  # not there, see facekit.annotations.coco_reader
            value = {
                "x": _percent(x, faces.size_wh[0]),
                "y": _percent(y, faces.size_wh[1]),
                "width": _POINT_WIDTH,
                "keypointlabels": [name],
            }
            region = _region("keypointlabels", f"{box}-{name}", "point", value, faces.size_wh)
            regions.append(region | {"parentID": box})
    return regions


def _box(
    region_id: str, face: Face, pose_deg: FloatArray, size_wh: tuple[int, int]
) -> dict[str, Any]:
    x1, y1, x2, y2 = face.box_xyxy.tolist()
    left, right = _percent(x1, size_wh[0]), _percent(x2, size_wh[0])
    top, bottom = _percent(y1, size_wh[1]), _percent(y2, size_wh[1])
    value = {
        "x": left,
        "y": top,
        "width": round(right - left, _PERCENT_DIGITS),
        "height": round(bottom - top, _PERCENT_DIGITS),
        "rotation": 0,
        "rectanglelabels": [face.class_name or FACE],
    }
    region = _region("rectanglelabels", region_id, "box", value, size_wh)
    region["score"] = round(face.score, SCORE_DIGITS)
    if texts := [*_meta(face, pose_deg)]:
        region["meta"] = {"text": texts}  # shown with the region, and kept by exports
    return region


def _meta(face: Face, pose_deg: FloatArray) -> Iterator[str]:
    if np.isfinite(pose_deg).all():
        for name, angle in zip(("yaw", "pitch", "roll"), pose_deg.tolist(), strict=True):
            yield f"{name} {angle:.0f}"
    if np.isfinite(face.sharpness):
        yield f"sharpness {face.sharpness:.2f}"


def _region(
    kind: str, region_id: str, control: str, value: dict[str, Any], size_wh: tuple[int, int]
) -> dict[str, Any]:
    return {
        "id": region_id,
        "type": kind,
        "from_name": control,
        "to_name": "image",
        "original_width": size_wh[0],
        "original_height": size_wh[1],
        "image_rotation": 0,
        "value": value,
    }


def _percent(pixels: float, side: int) -> float:
    return round(min(max(100 * pixels / side, 0.0), 100.0), _PERCENT_DIGITS)


def _config(layout: Layout) -> str:
    """Return the labeling configuration: a control for the boxes, and one for the points."""
    lines = [
        "<View>",
        '  <Image name="image" value="$image" zoom="true" zoomControl="true"/>',
        '  <RectangleLabels name="box" toName="image">',
        *(f"    <Label value={quoteattr(name)}/>" for name in layout.class_names or (FACE,)),
        "  </RectangleLabels>",
    ]
    if layout.point_count:
        lines.append('  <KeyPointLabels name="point" toName="image">')
        for index, name in enumerate(layout.point_names):
            color = _COLORS.get(name.rpartition("_")[0], _OTHER_COLOR)
            # By model_index Label Studio's own exports to COCO and YOLO put the points in order.
            label = f'value={quoteattr(name)} model_index="{index}" background="{color}"'
            lines.append(f"    <Label {label}/>")
        lines.append("  </KeyPointLabels>")
    return "\n".join([*lines, "</View>", ""])
