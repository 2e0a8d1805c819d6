"""Which faces are kept: by score, size, sharpness and pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facekit.errors import ConfigError, InputError
from facekit.faces import Faces
from facekit.landmarks.eyes import has_eyes

MAX_YAW_DEG = 180.0


@dataclass(frozen=True)
class FaceLimits:
    """Limits that a face has to meet, all of them; the defaults keep every face.

    Attributes:
        min_score: Lowest score, 0 to 1.
        min_size_px: Shortest side of the box in pixels of the upright photo.
        min_sharpness: Lowest ``Face.sharpness``, 0 to 1; a face whose own is unknown is left out.
        max_yaw_deg: Farthest turn to either side, 0 to 180; likewise.

    Raises:
        ConfigError: One of them is out of its range.
    """

    min_score: float = 0.0
    min_size_px: float = 0.0
    min_sharpness: float = 0.0
    max_yaw_deg: float = MAX_YAW_DEG

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("min_score", "min_sharpness"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"{name}: expected a number from 0 to 1, got {getattr(self, name)}"
                )
        if not self.min_size_px >= 0:
            raise ConfigError(f"min_size_px: expected pixels >= 0, got {self.min_size_px}")
        if not 0 <= self.max_yaw_deg <= MAX_YAW_DEG:
            raise ConfigError(f"max_yaw_deg: expected 0 to 180 degrees, got {self.max_yaw_deg}")

    def keep(self, faces: Faces) -> Faces:
        """Return the faces that meet the limits.

        Raises:
            InputError: As :meth:`meets`.
        """
        return faces if self == FaceLimits() else faces[self.meets(faces)]

    def meets(self, faces: Faces) -> npt.NDArray[np.bool_]:
        """Return whether each face meets the limits: bool (N,).

        Raises:
            InputError: The sharpness is asked for, and no face of the photo has one.
        """
        kept = faces.scores >= np.float32(self.min_score)
        if self.min_size_px:
            sides = faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]
            kept &= sides.min(axis=1) >= self.min_size_px
        if self.min_sharpness:
            if len(faces) and np.isnan(faces.sharpness).all():
                raise InputError(
                    "min_sharpness: these faces have no sharpness, which only the model faces of "
                    "this version tells; find them anew, or leave it out"
                )
            kept &= faces.sharpness >= np.float32(self.min_sharpness)
        if self.max_yaw_deg < MAX_YAW_DEG:
            known = has_eyes(faces.points_xy.shape[1])
            yaws = faces.poses_deg[:, 0] if known else np.full(len(faces), np.nan)
            kept &= np.abs(yaws) <= self.max_yaw_deg
        return kept
