"""The faces of one photo: boxes, scores and landmark points, as arrays of checked shapes.

>>> faces = Faces.empty((640, 480))
>>> len(faces), faces.points_xy.shape
(0, (0, 68, 2))
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from facekit.errors import InputError
from facekit.landmarks.crops import FloatArray
from facekit.landmarks.scheme import POINT_COUNTS, groups


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo, in pixels of the upright photo, x right, y down.

    Attributes:
        box_xyxy: float32 (4,), left, top, right, bottom.
        score: Detection score in [0, 1].
        points_xy: float32 (K, 2), landmarks in the order of ``facekit.landmarks.scheme``.
        point_scores: float32 (K,), how peaked the network's answer for a point was; not a
            calibrated probability.
    """

    box_xyxy: FloatArray
    score: float
    points_xy: FloatArray
    point_scores: FloatArray

    @property
    def width(self) -> float:
        """The box's width in pixels."""
        return float(self.box_xyxy[2]) - float(self.box_xyxy[0])

    @property
    def height(self) -> float:
        """The box's height in pixels."""
        return float(self.box_xyxy[3]) - float(self.box_xyxy[1])

    @property
    def rotation_deg(self) -> float:
        """Angle of the eye line in degrees: 0 upright, positive clockwise as seen, NaN if unknown.

        Raises:
            ConfigError: The points are of no known landmark scheme.
        """
        return float(_rotations(self.points_xy[None])[0])

    @property
    def center_xy(self) -> FloatArray:
        """The point midway between the eyes: float32 (2,).

        Raises:
            ConfigError: The points are of no known landmark scheme.
        """
        center: FloatArray = _centers(self.points_xy[None])[0]
        return center

    def part(self, name: str) -> FloatArray:
        """Return the points of one part of the face, such as ``left_eye``: float32 (n, 2).

        Raises:
            ConfigError: The points are of no known landmark scheme.
            InputError: That scheme has no part of this name.
        """
        spans = groups(len(self.points_xy))
        if name not in spans:
            raise InputError(f"no part {name!r}; this scheme has {', '.join(spans)}")
        span = spans[name]
        return self.points_xy[span.start : span.stop]

    def to_dict(self) -> dict[str, Any]:
        """Return the face as JSON-ready values, pixels rounded to 0.001 and scores to 0.0001.

        ``rotation_deg`` and ``center_xy`` are null where the points are of no known scheme, and
        ``rotation_deg`` where both eyes lie at one place.
        """
        known = _has_eyes(len(self.points_xy))
        rotation = self.rotation_deg if known else float("nan")
        return {
            "box_xyxy": _rounded(self.box_xyxy, 3),
            "score": round(float(self.score), 4),
            "rotation_deg": round(rotation, 3) if np.isfinite(rotation) else None,
            "center_xy": _rounded(self.center_xy, 3) if known else None,
            "points_xy": _rounded(self.points_xy, 3),
            "point_scores": _rounded(self.point_scores, 4),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return (
            np.array_equal(self.box_xyxy, other.box_xyxy)
            and self.score == other.score
            and np.array_equal(self.points_xy, other.points_xy)
            and np.array_equal(self.point_scores, other.point_scores)
        )


@dataclass(frozen=True, eq=False)
class Faces:
    """All faces of one photo, best first, in pixels of the upright photo, x right, y down.

    ``faces[i]`` is a :class:`Face`; ``faces[mask]``, ``faces[:3]`` and ``faces[[0, 2]]`` are
    :class:`Faces` of the same photo. A photo with no face has a length of 0.

    Attributes:
        boxes_xyxy: float32 (N, 4), left, top, right, bottom.
        scores: float32 (N,), detection scores in [0, 1].
        points_xy: float32 (N, K, 2), landmarks in the order of ``facekit.landmarks.scheme``.
        point_scores: float32 (N, K), how peaked the network's answer for a point was; not a
            calibrated probability.
        size_wh: Width and height of the upright photo in pixels.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    points_xy: FloatArray
    point_scores: FloatArray
    size_wh: tuple[int, int]

    def __post_init__(self) -> None:
        """Convert all arrays to float32, and check them and that their shapes agree.

        Raises:
            InputError: A shape is not the one it must be, an array holds a value that is not finite
                in float32, or ``size_wh`` is not two whole numbers >= 0.
        """
        for name in ("boxes_xyxy", "scores", "points_xy", "point_scores"):
            try:
                with np.errstate(over="ignore"):  # It becomes infinite, and is refused below.
                    value = np.asarray(getattr(self, name), dtype=np.float32)
            except (TypeError, ValueError, OverflowError) as e:
                raise InputError(f"{name}: expected numbers: {e}") from e
            object.__setattr__(self, name, value)
        count = len(self.scores) if self.scores.ndim == 1 else "N"
        points = self.points_xy.shape[1] if self.points_xy.ndim == 3 else "K"
        expected: dict[str, tuple[int | str, ...]] = {
            "scores": (count,),
            "boxes_xyxy": (count, 4),
            "points_xy": (count, points, 2),
            "point_scores": (count, points),
        }
        for name, shape in expected.items():
            actual = getattr(self, name).shape
            if actual != shape:
                wanted = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
                raise InputError(f"{name}: expected shape {wanted}, got {actual}")
        for name in expected:
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name}: holds values that are not finite")
        try:
            size = tuple(operator.index(side) for side in self.size_wh)
        except TypeError:
            size = ()
        if len(size) != 2 or min(size) < 0:
            raise InputError(f"size_wh: expected width and height in pixels, got {self.size_wh!r}")
        object.__setattr__(self, "size_wh", size)

    @classmethod
    def empty(cls, size_wh: tuple[int, int] = (0, 0), point_count: int = 68) -> Faces:
        """Return no faces of a photo of this size, with ``point_count`` points each."""
        return cls(
            boxes_xyxy=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            points_xy=np.zeros((0, point_count, 2), np.float32),
            point_scores=np.zeros((0, point_count), np.float32),
            size_wh=size_wh,
        )

    @property
    def rotations_deg(self) -> FloatArray:
        """Angle of each eye line: float32 (N,), 0 upright, positive clockwise, NaN if unknown.

        Raises:
            ConfigError: There are faces, and their points are of no known landmark scheme.
        """
        return _rotations(self.points_xy)

    @property
    def centers_xy(self) -> FloatArray:
        """The points midway between the eyes of each face: float32 (N, 2).

        Raises:
            ConfigError: There are faces, and their points are of no known landmark scheme.
        """
        return _centers(self.points_xy)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: ``size_wh`` and ``faces``, one entry each."""
        return {"size_wh": list(self.size_wh), "faces": [face.to_dict() for face in self]}

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Face]:
        for index in range(len(self)):
            yield self._face(index)

    @overload
    def __getitem__(self, index: int) -> Face: ...
    @overload
    def __getitem__(self, index: slice | list[int] | npt.NDArray[Any]) -> Faces: ...
    def __getitem__(self, index: int | slice | list[int] | npt.NDArray[Any]) -> Face | Faces:
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"face {index} of {len(self)}")
            return self._face(int(index))
        if isinstance(index, list) and not index:
            index = np.zeros(0, np.intp)
        return Faces(
            boxes_xyxy=self.boxes_xyxy[index],
            scores=self.scores[index],
            points_xy=self.points_xy[index],
            point_scores=self.point_scores[index],
            size_wh=self.size_wh,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        return (
            self.size_wh == other.size_wh
            and np.array_equal(self.boxes_xyxy, other.boxes_xyxy)
            and np.array_equal(self.scores, other.scores)
            and np.array_equal(self.points_xy, other.points_xy)
            and np.array_equal(self.point_scores, other.point_scores)
        )

    def _face(self, index: int) -> Face:
        return Face(
            box_xyxy=self.boxes_xyxy[index],
            score=float(self.scores[index]),
            points_xy=self.points_xy[index],
            point_scores=self.point_scores[index],
        )


def _has_eyes(point_count: int) -> bool:
    return point_count in POINT_COUNTS


def _eyes(points_xy: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centres of the subject's right and left eyes, float64 (N, 2) each.

    The mean of an eye's six points is steadier than one corner, and a closed or half-closed eye
    does not move it along the eye line.
    """
    if len(points_xy) == 0:
        return np.zeros((0, 2)), np.zeros((0, 2))
    spans = groups(points_xy.shape[1])
    right, left = spans["right_eye"], spans["left_eye"]
    return (
        points_xy[:, right.start : right.stop].mean(axis=1, dtype=np.float64),
        points_xy[:, left.start : left.stop].mean(axis=1, dtype=np.float64),
    )


def _rotations(points_xy: FloatArray) -> FloatArray:
    right, left = _eyes(points_xy)
    across = left - right
    # atan2 and not the ratio: an eye line that stands upright has no finite slope, and a face that
    # lies upside down has the same one as an upright face.
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    return np.where(np.any(across != 0, axis=1), angles, np.nan).astype(np.float32)


def _centers(points_xy: FloatArray) -> FloatArray:
    right, left = _eyes(points_xy)
    return ((right + left) / 2).astype(np.float32)


def _rounded(values: FloatArray, digits: int) -> list[Any]:
    result: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    return result
