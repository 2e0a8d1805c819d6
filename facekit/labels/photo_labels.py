"""The labels of one photo in any format, and turning them upright as its EXIF orientation says."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekit.errors import DataError, PhotoError, reading
from facekit.photos.header import (
    read_photo_header,
    upright_boxes,
    upright_points,
    upright_size,
)

Size = tuple[int, int]


@dataclass(frozen=True)
class PhotoLabels:
    """The labeled objects of one photo.

    Readers give coordinates as they stand in the file. The public sets were labeled on the pixels
    as they are stored, whatever EXIF orientation a photo carries, so that is what they count in;
    only where ``size_wh`` fits nothing but the upright photo they are of that one.
    :func:`upright_labels` turns them to what a server sees.

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
    size_wh: Size | None
    boxes_xyxy: NDArray[np.float32]
    class_names: tuple[str, ...]
    ignored: NDArray[np.bool_]
    points_xy: tuple[NDArray[np.float32] | None, ...]
    source: Path

    def __post_init__(self) -> None:
        """Check that all fields are of the same number of objects."""
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


def labeled_upright(labels_wh: Size | None, stored_wh: Size, orientation: int) -> bool:
    """Tell whether labels are of the upright photo already.

    They are if the size that they state is that of the upright photo and not of the stored one.
    Otherwise they are of the stored pixels, which tools that made the public sets look at.
    """
    return labels_wh not in (None, stored_wh) and labels_wh == upright_size(stored_wh, orientation)


def upright_labels(labels: PhotoLabels, stored_wh: Size, orientation: int) -> PhotoLabels:
    """Return labels in pixels of the upright photo, which is what a server sees.

    A stated size is turned too. The labels stay the same where there is nothing to turn, or where
    they state another size than the stored one.
    """
    if orientation == 1 or labels.size_wh not in (None, stored_wh):
        return labels
    return replace(
        labels,
        size_wh=None if labels.size_wh is None else upright_size(stored_wh, orientation),
        boxes_xyxy=upright_boxes(labels.boxes_xyxy, stored_wh, orientation),
        points_xy=tuple(
            None if points is None else upright_points(points, stored_wh, orientation)
            for points in labels.points_xy
        ),
    )


def stored_view(photo: Path) -> tuple[Size, int]:
    """Return a photo's size as stored and its EXIF orientation 1..8, from its header alone.

    Raises DataError if the photo can't be read, or is none of the accepted kinds.
    """
    try:
        with reading(photo), photo.open("rb") as stream:
            header = read_photo_header(stream)
    except (PhotoError, ValueError) as error:
        raise DataError(photo, f"cannot be decoded: {error}") from error
    return header.stored_wh, header.orientation
