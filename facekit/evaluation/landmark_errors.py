"""Landmark errors by region, in crop pixels and in eye distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekit.contract import CROP_SIDE
from facekit.evaluation.average_precision import Array, iou_matrix
from facekit.landmarks.scheme import OUTER_EYE_CORNERS, groups

FAILURE = 0.08
"""A face fails if its mean error is a larger share of its eye distance (usual on 300-W)."""
ON_FACE = 0.2
"""IoU from which a found box lies on a face: low, so that bad boxes count in the errors."""

REGIONS: dict[str, tuple[str, ...]] = {
    "eyes": ("right_eye", "left_eye"),
    "mouth": ("outer_mouth", "inner_mouth"),
    "jaw": ("jaw",),
    "brows": ("right_eyebrow", "left_eyebrow"),
    "nose": ("nose",),
    "pupils": ("pupils",),
    "ears": ("ears",),
    "extra eyes": ("extra_eyes",),
}
"""Parts of ``facekit.landmarks.scheme`` by region; NVIDIA's FPENet card names eyes and mouth."""


def region_points(point_count: int) -> dict[str, NDArray[np.intp]]:
    """Return the indices of every region that a scheme has, the whole face first as ``all``.

    Raises ConfigError if ``point_count`` is not 68, 80 or 104.
    """
    parts = groups(point_count)
    regions = {"all": np.arange(point_count)}
    for name, members in REGIONS.items():
        known = [parts[part] for part in members if part in parts]
        if known:
            regions[name] = np.concatenate([np.arange(span.start, span.stop) for span in known])
    return regions


def faces_on(boxes_xyxy: Array, scores: Array, true_boxes_xyxy: Array) -> NDArray[np.intp]:
    """Return for each true face the surest box that lies on it rather than on another face.

    The found boxes are float32 (N, 4), the true ones, all faces of the photo, float32 (M, 4). The
    result, int (M,), has the boxes' indices, or -1 where no box overlaps the face by ``ON_FACE``.
    """
    chosen = np.full(len(true_boxes_xyxy), -1, np.intp)
    if len(boxes_xyxy) == 0 or len(true_boxes_xyxy) == 0:
        return chosen
    overlaps = iou_matrix(boxes_xyxy, true_boxes_xyxy)
    nearest = overlaps.argmax(axis=1)
    for index in np.argsort(scores, kind="stable"):  # the surest comes last and stays
        if overlaps[index, nearest[index]] >= ON_FACE:
            chosen[nearest[index]] = index
    return chosen


@dataclass(frozen=True)
class LandmarkErrors:
    """Distances of the points of some faces from the true points, NaN for unannotated ones.

    Attributes:
        crop_pixels: float64 (F, P), in pixels of FPENet's 80x80 crop as the face's true box gives
            it: its longer side is 80 of them.
        eye_shares: float64 (F, P), over the distance of the true outer eye corners; NaN too where
            these are not annotated.
        missed: Number of faces beyond the F that had no box on them.
    """

    crop_pixels: NDArray[np.float64]
    eye_shares: NDArray[np.float64]
    missed: int = 0

    @classmethod
    def of_faces(
        cls,
        found: Sequence[Array],
        true: Sequence[Array],
        true_boxes_xyxy: Sequence[Array],
        *,
        missed: int = 0,
        point_count: int = 68,
    ) -> LandmarkErrors:
        """Measure faces, all in pixels of their photos.

        Points are float32 (point_count, 2) a face, NaN for a true one that is not annotated; boxes
        float32 (4,) a face. ``missed`` faces had no box on them.
        """
        shape = (len(found), point_count, 2)
        points = np.array(found, np.float64).reshape(shape)
        places = np.array(true, np.float64).reshape(shape)
        boxes = np.array(true_boxes_xyxy, np.float64).reshape(-1, 4)
        distances = np.linalg.norm(points - places, axis=2)
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
        right, left = (places[:, corner] for corner in OUTER_EYE_CORNERS)
        eyes = np.linalg.norm(right - left, axis=1)
        # Corners in one place give no length to measure by.
        eyes[eyes == 0] = np.nan
        return cls(distances * (CROP_SIDE / sides[:, None]), distances / eyes[:, None], missed)

    @property
    def faces(self) -> int:
        """Number of faces, with those that were missed."""
        return len(self.crop_pixels) + self.missed

    @property
    def missed_share(self) -> float:
        """Share of the faces that had no box on them; NaN without faces."""
        return self.missed / self.faces if self.faces else float("nan")

    @property
    def failed_share(self) -> float:
        """Share of the faces that were missed or whose mean error exceeds ``FAILURE``."""
        if not self.faces:
            return float("nan")
        failed = sum(_mean(face) > FAILURE for face in self.eye_shares)
        return (failed + self.missed) / self.faces

    @property
    def median_eye_share(self) -> float:
        """Median over the faces of their mean error, as a share of their eye distance."""
        means = np.array([_mean(face) for face in self.eye_shares])
        known = means[np.isfinite(means)]
        return float(np.median(known)) if len(known) else float("nan")

    def by_region(self) -> dict[str, tuple[float, float]]:
        """Return each region's mean error over the annotated points of the faces found.

        They are crop pixels and eye shares, ``all`` first; NaN where no point is annotated.
        """
        regions = region_points(self.crop_pixels.shape[1])
        return {
            name: (_mean(self.crop_pixels[:, points]), _mean(self.eye_shares[:, points]))
            for name, points in regions.items()
        }


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
