"""The faces of one photo: checked arrays of boxes, scores, landmark points and classes.

>>> faces = Faces.empty((640, 480))
>>> len(faces), faces.points_xy.shape
(0, (0, 68, 2))
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from facekit.errors import InputError
from facekit.landmarks.crops import FloatArray
from facekit.landmarks.eyes import centers_xy, has_eyes, rotations_deg
from facekit.landmarks.pose import poses_deg
from facekit.landmarks.scheme import groups

_ARRAYS = ("boxes_xyxy", "scores", "points_xy", "point_scores")
"""The arrays of float32 of :class:`Faces`."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo, in pixels of the upright photo, x right, y down.

    Attributes:
        box_xyxy: float32 (4,), left, top, right, bottom.
        score: Detection score in [0, 1].
        points_xy: float32 (K, 2), landmarks in the order of ``facekit.landmarks.scheme``.
        point_scores: float32 (K,), peak of the network's heatmap of each point; not calibrated.
        class_name: Such as ``no-mask``; "" where the model has no classes.
        sharpness: 0 to 1, see ``facekit.landmarks.sharpness``; NaN if unknown.
    """

    box_xyxy: FloatArray
    score: float
    points_xy: FloatArray
    point_scores: FloatArray
    class_name: str = ""
    sharpness: float = math.nan

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

        Raises ConfigError if the points are of no known landmark scheme.
        """
        return float(rotations_deg(self.points_xy[None])[0])

    @property
    def pose_deg(self) -> FloatArray:
        """Yaw, pitch and roll in degrees, float32 (3,), NaN if unknown or a point is missing.

        Positive is turned to the picture's right, up, and clockwise; see
        ``facekit.landmarks.pose``.

        Raises:
            ConfigError: The points are of no known landmark scheme.
        """
        pose: FloatArray = poses_deg(_known(self.points_xy, self.point_scores)[None])[0]
        return pose

    @property
    def center_xy(self) -> FloatArray:
        """Midpoint between the eyes: float32 (2,); raises ConfigError in an unknown scheme."""
        center: FloatArray = centers_xy(self.points_xy[None])[0]
        return center

    def part(self, name: str) -> FloatArray:
        """Return the points of one part of the face, such as ``left_eye``: float32 (n, 2).

        Raises ConfigError if the points are of no known landmark scheme, and InputError if that has
        no part of this name.
        """
        spans = groups(len(self.points_xy))
        if name not in spans:
            raise InputError(f"no part {name!r}; this scheme has {', '.join(spans)}")
        span = spans[name]
        return self.points_xy[span.start : span.stop]

    def to_dict(self) -> dict[str, Any]:
        """Return the face as JSON-ready values, pixels rounded to 0.001 and scores to 0.0001.

        Yaw, pitch and roll are ``pose_deg``. It, ``rotation_deg`` and ``center_xy`` are null where
        the landmark scheme is unknown, and ``rotation_deg`` where both eyes coincide. ``sharpness``
        is null where it is unknown, and ``class_name`` left out without classes.
        """
        known = has_eyes(len(self.points_xy))
        return self._to_dict(self.pose_deg if known else np.full(3, np.nan, np.float32))

    def _to_dict(self, pose: FloatArray) -> dict[str, Any]:
        known = has_eyes(len(self.points_xy))
        rotation = self.rotation_deg if known else math.nan
        named = {"class_name": self.class_name} if self.class_name else {}
        return {
            "box_xyxy": _rounded(self.box_xyxy, 3),
            "score": round(float(self.score), 4),
            **named,
            "rotation_deg": round(rotation, 3) if np.isfinite(rotation) else None,
            "center_xy": _rounded(self.center_xy, 3) if known else None,
            "pose_deg": _rounded(pose, 2) if np.isfinite(pose).all() else None,
            "sharpness": round(self.sharpness, 4) if np.isfinite(self.sharpness) else None,
            "points_xy": _rounded(self.points_xy, 3),
            "point_scores": _rounded(self.point_scores, 4),
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return (
            self.score == other.score
            and self.class_name == other.class_name
            and np.array_equal(self.sharpness, other.sharpness, equal_nan=True)
            and _equal(self, other, ("box_xyxy", "points_xy", "point_scores"))
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
        point_scores: float32 (N, K), peak of the network's heatmap of each point; not calibrated.
        size_wh: Width and height of the upright photo in pixels.
        labels: int32 (N,), index of each face's class in ``class_names``; (0,) without classes.
        class_names: The model's classes; () for none.
        sharpness: float32 (N,), as ``Face.sharpness``; all NaN when left out.
        channels: Of the photo as stored: 1 gray, 2 gray and alpha, 3 color, 4 color and alpha, or
            CMYK; 0 if unknown. ``==`` does not compare it, nor those below.
        least_side: Shorter side in pixels of the smallest faces that could be seen; 0 if unknown.
        notes: What may have been missed, such as "faces under 34 px can't be seen at this size".
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    points_xy: FloatArray
    point_scores: FloatArray
    size_wh: tuple[int, int]
    labels: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    class_names: tuple[str, ...] = ()
    channels: int = 0
    sharpness: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    least_side: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Convert the arrays to float32 and int32, and check their values and shapes.

        Raises InputError if a shape does not fit, a value is not finite in float32, ``size_wh`` is
        not two whole numbers >= 0, a label is not an index of ``class_names``, or these are not
        distinct texts.
        """
        with np.errstate(over="ignore"):  # An overflow becomes infinite, and is refused below.
            for name in _ARRAYS:
                try:
                    value = np.asarray(getattr(self, name), dtype=np.float32)
                except (TypeError, ValueError, OverflowError) as error:
                    raise InputError(f"{name}: expected numbers: {error}") from error
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
        for name in _ARRAYS:
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name}: contains values that are not finite")
        try:
            size = tuple(operator.index(side) for side in self.size_wh)
        except TypeError:
            size = ()
        if len(size) != 2 or min(size) < 0:
            raise InputError(f"size_wh: expected width and height in pixels, got {self.size_wh!r}")
        object.__setattr__(self, "size_wh", size)
        self._check_labels()
        sharpness = np.asarray(self.sharpness, np.float32)
        if sharpness.shape == (0,):
            sharpness = np.full(len(self), np.nan, np.float32)
        if sharpness.shape != (len(self),) or np.isinf(sharpness).any():
            raise InputError(
                f"sharpness: expected a number or NaN for each of {len(self)} faces, got shape "
                f"{sharpness.shape}"
            )
        object.__setattr__(self, "sharpness", sharpness)

    def _check_labels(self) -> None:
        given: Any = self.class_names
        try:
            names = () if isinstance(given, str) else tuple(given)
        except TypeError:
            names = (None,)
        wrong = isinstance(given, str) or not all(isinstance(n, str) and n for n in names)
        if wrong or len(set(names)) < len(names):
            raise InputError(
                f"class_names: expected texts, no two alike, none empty, got {given!r}"
            )
        labels = np.asarray(self.labels)
        expected = (len(self) if names else 0,)
        if labels.shape != expected:
            what = f"{len(names)} class names" if names else "no class names"
            raise InputError(f"labels: expected shape {expected} with {what}, got {labels.shape}")
        if labels.size and labels.dtype.kind not in "iu":
            raise InputError(f"labels: expected whole numbers, got {labels.dtype}")
        if labels.size and (labels.min() < 0 or labels.max() >= len(names)):
            raise InputError(f"labels: expected numbers below {len(names)}, got {labels.tolist()}")
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))
        object.__setattr__(self, "class_names", names)

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

        Raises ConfigError if there are faces, and their points are of no known landmark scheme.
        """
        return rotations_deg(self.points_xy)

    @functools.cached_property
    def poses_deg(self) -> FloatArray:
        """Yaw, pitch and roll of each face in degrees: float32 (N, 3), as ``Face.pose_deg``.

        Raises:
            ConfigError: There are faces, and their points are of no known landmark scheme.
        """
        return poses_deg(_known(self.points_xy, self.point_scores))

    @property
    def centers_xy(self) -> FloatArray:
        """Midpoint between the eyes of each face: float32 (N, 2).

        Raises ConfigError if there are faces, and their points are of no known landmark scheme.
        """
        return centers_xy(self.points_xy)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: ``size_wh``, ``notes`` if any, ``faces`` with an entry each."""
        known = has_eyes(self.points_xy.shape[1])
        poses = self.poses_deg if known else np.full((len(self), 3), np.nan, np.float32)
        rows = [face._to_dict(pose) for face, pose in zip(self, poses, strict=True)]
        noted = {"notes": list(self.notes)} if self.notes else {}
        return {"size_wh": list(self.size_wh), **noted, "faces": rows}

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
        arrays = {name: getattr(self, name)[index] for name in _ARRAYS}
        labels = self.labels[index] if self.class_names else self.labels
        return replace(self, labels=labels, sharpness=self.sharpness[index], **arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        return (
            self.size_wh == other.size_wh
            and self.class_names == other.class_names
            and _equal(self, other, (*_ARRAYS, "labels"))
            and np.array_equal(self.sharpness, other.sharpness, equal_nan=True)
        )

    def _face(self, index: int) -> Face:
        return Face(
            box_xyxy=self.boxes_xyxy[index],
            score=float(self.scores[index]),
            points_xy=self.points_xy[index],
            point_scores=self.point_scores[index],
            class_name=self.class_names[self.labels[index]] if self.class_names else "",
            sharpness=float(self.sharpness[index]),
        )


def _known(points_xy: FloatArray, point_scores: FloatArray) -> FloatArray:
    """Return points with NaN for those that a dataset of another tool does not have."""
    missing = (point_scores == 0) & ~points_xy.any(axis=-1)
    return np.where(missing[..., None], np.float32(np.nan), points_xy)


def _equal(one: object, other: object, names: Sequence[str]) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def _rounded(values: FloatArray, digits: int) -> list[Any]:
    result: list[Any] = np.round(values.astype(np.float64), digits).tolist()
    return result
