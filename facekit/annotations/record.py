"""The outcome of one photo, its faces or an error, as one line of JSON.

>>> record = PhotoRecord("holiday/a.jpg", FileStamp(3, 5), error="an empty file")
>>> record.to_json()
'{"photo":"holiday/a.jpg","size":3,"mtime_ns":5,"error":"an empty file","lasting":true}'
>>> PhotoRecord.from_json(record.to_json()) == record
True
"""

from __future__ import annotations

import json
import os
from dataclasses import InitVar, dataclass, replace
from typing import Any

import numpy as np

from facekit.errors import InputError
from facekit.faces import Faces
from facekit.landmarks.crops import FloatArray
from facekit.selection import FaceLimits

GONE = "the file is gone"
"""Error of a photo that was listed and no longer exists when it is read; it does not last."""
PIXEL_DIGITS = 3
"""Decimals of a pixel that are kept; no camera and no network is as exact."""
SCORE_DIGITS = 4
ANGLE_DIGITS = 2
_LAST_NS = 2**63 - 1


@dataclass(frozen=True)
class FileStamp:
    """Identifies a version of a file, by bytes, nanoseconds of its last change, and content.

    ``sha256`` is hexadecimal; "" where it was not asked for.
    """

    size: int
    mtime_ns: int
    sha256: str = ""

    @classmethod
    def of(cls, status: os.stat_result, sha256: str = "") -> FileStamp:
        """Return the stamp of a file's state; times after 2262 are one, as databases hold 64 bits.

        ext4 has times until 2446, and a broken clock gives any of them.
        """
        return cls(status.st_size, min(status.st_mtime_ns, _LAST_NS), sha256)


@dataclass(frozen=True, eq=False)
class PhotoRecord:
    """The outcome of one photo: its faces, or an error.

    Attributes:
        photo: Path under the photo folder, with ``/`` between its parts.
        stamp: Which state of the file this is about.
        faces: What was found, rounded as it is written; None where there is an error.
        error: Why there are no faces, in one line; "" where there are.
        lasting: Whether the error is the photo's own and stays until the file changes; one of a
            server may be gone in the next run.
    """

    photo: str
    stamp: FileStamp
    faces: Faces | None = None
    error: str = ""
    lasting: bool = True
    exact: InitVar[bool] = False
    """Whether the faces are rounded already, as those that are read back are."""

    def __post_init__(self, exact: bool) -> None:
        """Round the faces, so that what is in memory equals what is read back.

        Raises InputError for both faces and an error, or neither.
        """
        if (self.faces is None) == (not self.error):
            raise InputError(f"{self.photo}: a record has either faces or an error")
        if self.faces is not None and not exact:
            object.__setattr__(self, "faces", _rounded(self.faces))

    def within(self, limits: FaceLimits) -> PhotoRecord:
        """Return the record with those faces that meet the limits.

        Raises:
            InputError: The sharpness is asked for, and unknown; names the photo.
        """
        if self.faces is None:
            return self
        try:
            faces = limits.keep(self.faces)
        except InputError as error:
            raise InputError(f"{self.photo}: {error}") from error
        return self if faces is self.faces else replace(self, faces=faces, exact=True)

    def to_json(self) -> str:
        """Return the record as one line of JSON, without a line end."""
        data: dict[str, Any] = {
            "photo": self.photo,
            "size": self.stamp.size,
            "mtime_ns": self.stamp.mtime_ns,
        }
        if self.stamp.sha256:
            data["sha256"] = self.stamp.sha256
        if self.faces is None:
            data |= {"error": self.error, "lasting": self.lasting}
        else:
            data |= _faces_to_dict(self.faces)
        return json.dumps(data, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> PhotoRecord:
        """Read a line that :meth:`to_json` wrote; raises InputError for any other."""
        try:
            data = json.loads(line)
            stamp = FileStamp(data["size"], data["mtime_ns"], data.get("sha256", ""))
            if "error" in data:
                return cls(data["photo"], stamp, error=data["error"], lasting=data["lasting"])
            return cls(data["photo"], stamp, _faces_from_dict(data), exact=True)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"is not the record of a photo: {error!r}") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PhotoRecord):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.photo, self.stamp))


def _rounded(faces: Faces) -> Faces:
    return Faces(
        boxes_xyxy=_round(faces.boxes_xyxy, PIXEL_DIGITS),
        scores=_round(faces.scores, SCORE_DIGITS),
        points_xy=_round(faces.points_xy, PIXEL_DIGITS),
        point_scores=_round(faces.point_scores, SCORE_DIGITS),
        size_wh=faces.size_wh,
        labels=faces.labels,
        class_names=faces.class_names,
        channels=faces.channels,
        sharpness=_round(faces.sharpness, SCORE_DIGITS),
    )


def _round(values: FloatArray, digits: int) -> FloatArray:
    # In float64: in float32 the product with a power of ten would round a second time.
    return np.round(values.astype(np.float64), digits).astype(np.float32)


def rounded_list(values: FloatArray, digits: int) -> Any:
    """Return float32 values as nested lists of the shortest decimals, as they are written."""
    return np.round(values.astype(np.float64), digits).tolist()


def optional_list(values: FloatArray, digits: int) -> list[Any]:
    """Return :func:`rounded_list` with None for what is unknown, NaN."""
    rows = rounded_list(values, digits)
    known = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    return [row if there else None for row, there in zip(rows, known, strict=True)]


def _faces_to_dict(faces: Faces) -> dict[str, Any]:
    data: dict[str, Any] = {
        "size_wh": list(faces.size_wh),
        "channels": faces.channels,
        "point_count": faces.points_xy.shape[1],
        "boxes_xyxy": rounded_list(faces.boxes_xyxy, PIXEL_DIGITS),
        "scores": rounded_list(faces.scores, SCORE_DIGITS),
        "points_xy": rounded_list(faces.points_xy, PIXEL_DIGITS),
        "point_scores": rounded_list(faces.point_scores, SCORE_DIGITS),
    }
    if np.isfinite(faces.sharpness).any():  # unknown to earlier versions and to other models
        data["sharpness"] = optional_list(faces.sharpness, SCORE_DIGITS)
    if faces.class_names:
        data |= {"labels": faces.labels.tolist(), "class_names": list(faces.class_names)}
    return data


def _faces_from_dict(data: dict[str, Any]) -> Faces:
    count, points = len(data["scores"]), data["point_count"]
    names = tuple(data.get("class_names", ()))
    return Faces(
        boxes_xyxy=np.array(data["boxes_xyxy"], np.float32).reshape(count, 4),
        scores=np.array(data["scores"], np.float32),
        points_xy=np.array(data["points_xy"], np.float32).reshape(count, points, 2),
        point_scores=np.array(data["point_scores"], np.float32).reshape(count, points),
        size_wh=tuple(data["size_wh"]),
        labels=np.array(data.get("labels", []), np.int32),
        class_names=names,
        channels=data["channels"],
        sharpness=np.array(data.get("sharpness", []), np.float32),  # None is NaN
    )
