"""What the figures of an evaluation leave out without anything being wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facekit.labels.photo_labels import PhotoLabels
from facekit.landmarks.scheme import POINT_COUNTS
from facekit.text import count


@dataclass(frozen=True)
class Remarks:
    """Numbers of what is not measured.

    Attributes:
        unlabeled: Photos beside the others that have no label file.
        ignored: Objects that their labels mark as difficult, as a crowd or as ``DontCare``.
        other_points: Objects by their number of points, where no face scheme has so many.
    """

    unlabeled: int = 0
    ignored: int = 0
    other_points: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, photos: Sequence[PhotoLabels], unlabeled: int) -> Remarks:
        """Count what the labels of some photos hold."""
        sizes = Counter(
            len(points)
            for photo in photos
            for points in photo.points_xy
            if points is not None and len(points) not in POINT_COUNTS
        )
        ignored = sum(int(photo.ignored.sum()) for photo in photos)
        return cls(unlabeled, ignored, dict(sorted(sizes.items())))

    def lines(self) -> list[str]:
        """Return a line for each kind that there is."""
        lines = []
        if self.unlabeled:
            lines.append(f"{count(self.unlabeled, 'photo')} without a label file: not looked at.")
        if self.ignored:
            lines.append(
                f"{count(self.ignored, 'object')} marked as difficult, as a crowd or as DontCare: "
                "neither missed nor wrong to find."
            )
        for points, objects in self.other_points.items():
            schemes = ", ".join(map(str, POINT_COUNTS))
            lines.append(
                f"{count(objects, 'object')} with {count(points, 'point')}: not compared, the face "
                f"schemes have {schemes}."
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "photos_without_labels": self.unlabeled,
            "ignored_objects": self.ignored,
            "objects_by_points_of_no_scheme": {str(k): n for k, n in self.other_points.items()},
        }
