"""The labels of one photo, whatever kind of file they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PhotoLabels:
    """The labeled objects of one photo.

    Readers give coordinates as they stand in the file. The public sets were labeled on the pixels
    as they are stored, whatever EXIF orientation a photo carries, so that is what they count in;
    only where ``size_wh`` fits nothing but the upright photo they are of that one.
    ``facekit.labels.orientation.upright_labels`` turns them to what a server sees.

    Attributes:
        photo: The photo's file; None where a label file was read by itself.
        size_wh: Width and height of the photo in pixels as the labels give them, else None.
        boxes_xyxy: float32 [n, 4]: x1, y1, x2, y2 in pixels of the photo, from the outer corner of
            its first pixel.
        class_names: The n class names as they are written in the file.
        ignored: bool [n]: neither to be found nor wrong to find, such as KITTI's ``DontCare``,
            COCO's crowds, and VOC's difficult objects.
        points_xy: The points of each object, float32 [p, 2] in pixels of the photo, with NaN for
            a point that is not annotated; None for an object that has none.
        source: The label file.
    """

    photo: Path | None
    size_wh: tuple[int, int] | None
    boxes_xyxy: NDArray[np.float32]
    class_names: tuple[str, ...]
    ignored: NDArray[np.bool_]
    points_xy: tuple[NDArray[np.float32] | None, ...]
    source: Path

    def __post_init__(self) -> None:
        """Hold the fields to the same number of objects."""
        count = len(self.class_names)
        if self.boxes_xyxy.shape != (count, 4) or self.ignored.shape != (count,):
            raise ValueError(
                f"{count} class names, but boxes {self.boxes_xyxy.shape}, "
                f"ignored {self.ignored.shape}"
            )
        if len(self.points_xy) != count:
            raise ValueError(f"{count} class names, but {len(self.points_xy)} sets of points")

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.class_names)
