"""Which faces are covered, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facekit.faces import Faces
from facekit.privacy.cover import MARGIN, check_cover

THRESHOLD = 0.15
"""Least score of a face that is covered: on 428 calibration photos of three sets it finds 92 to
95 % of the labeled faces (81 to 91 % with the server's own 0.5, 94 to 98 % with 0.05), and covers
0.2 to 0.5 places a photo without a face (0.04 to 0.1; 0.7 to 1.5)."""

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".3gp", ".wmv")
"""How the name of a video ends, in lower case."""


@dataclass(frozen=True)
class Cover:
    """How faces are covered.

    Attributes:
        how: One of ``facekit.privacy.cover.METHODS``.
        margin: Around each box, as a part of its sides.
        keep_labels: Faces of these classes stay as they are.
        min_size_px: So do those whose box has a shorter side below this.
        keep_metadata: Whether camera, exposure, time and rights are kept.

    Raises:
        ConfigError: One of them is wrong.
    """

    how: str = "pixelate"
    margin: float = MARGIN
    keep_labels: tuple[str, ...] = ()
    min_size_px: float = 0.0
    keep_metadata: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        check_cover(self.how, self.margin)

    def chosen(self, faces: Faces) -> Faces:
        """Return the faces that are covered."""
        sides = (faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf)
        kept = [face.class_name in self.keep_labels for face in faces]
        chosen: Faces = faces[(sides >= self.min_size_px) & ~np.array(kept, bool)]
        return chosen
