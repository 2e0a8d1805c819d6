"""Running an exported landmark network on boxes, with the crops the kit serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekit.errors import DataError
from facekit.landmarks.crops import crop_squares, cut_crops, to_photo
from facekit.landmarks.scheme import POINT_COUNTS
from training.inference import open_session
from training.landmarks.network import INPUT_NAME, PEAKS_NAME, POINTS_NAME

Array = NDArray[np.float32]


class Landmarker:
    """An exported landmark network with the kit's crops.

    Attributes:
        session: The onnxruntime session.
        point_count: 68, 80 or 104, as the file says.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load an ONNX file for ``threads`` threads.

        Raises:
            DataError: The file is no landmark network of the kit's tensors.
        """
        self.session = open_session(path, threads)
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        count = shapes.get(POINTS_NAME, [None, None])[1]
        if count not in POINT_COUNTS:
            raise DataError(path, f"has no output {POINTS_NAME} of 68, 80 or 104 points")
        self.point_count: int = count

    def find(self, image: Image.Image, boxes: Array) -> tuple[Array, Array]:
        """Find the points of faces.

        Args:
            image: The upright photo.
            boxes: float32 [n, 4], pixels of the photo.

        Returns:
            Points float32 [n, k, 2] in pixels of the photo, and their peaks float32 [n, k].
        """
        squares = crop_squares(boxes, size_wh=image.size)
        crops = cut_crops(np.asarray(image.convert("L")), squares)
        points, peaks = self.session.run([POINTS_NAME, PEAKS_NAME], {INPUT_NAME: crops})
        return to_photo(np.asarray(points), squares), np.asarray(peaks, dtype=np.float32)
