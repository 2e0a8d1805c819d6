"""Running an exported detector on photos the way the kit serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from facekit.detection.parameters import ClusteringParameters
from facekit.detection.postprocess import Detections, detect
from training.detector.network import (
    BBOX_NAME,
    COVERAGE_NAME,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    INPUT_NAME,
)

Array = NDArray[np.float32]


def network_input(image: Image.Image, gray: bool = True) -> Array:
    """Return a photo as the detector takes it: stretched to 736x416, 0..1.

    Args:
        image: The upright photo.
        gray: Replicate the gray value to three channels (the default) or keep RGB.

    Returns:
        float32 [1, 3, 416, 736].
    """
    source = image.convert("L") if gray else image.convert("RGB")
    frame = source.resize((FRAME_WIDTH, FRAME_HEIGHT), Image.Resampling.BILINEAR)
    pixels = np.asarray(frame, dtype=np.float32) / np.float32(255)
    if gray:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


class Detector:
    """An exported detector with decoding and suppression."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load an ONNX file for ``threads`` threads."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def detect(
        self,
        image: Image.Image,
        threshold: float = 0.05,
        overlap: float = 0.5,
        gray: bool = True,
    ) -> Detections:
        """Find the faces of a photo.

        Args:
            image: The upright photo.
            threshold: Smallest coverage of a cell.
            overlap: Boxes that overlap a surer one by more than this are dropped.
            gray: As in ``network_input``.
        """
        inputs = {INPUT_NAME: network_input(image, gray)}
        bbox, coverage = self.session.run([BBOX_NAME, COVERAGE_NAME], inputs)
        parameters = ClusteringParameters(
            clustering_algorithm="NMS",
            coverage_threshold=threshold,
            nms_iou_threshold=overlap,
            nms_confidence_threshold=threshold,
        )
        return detect(
            np.asarray(bbox)[0],
            np.asarray(coverage)[0],
            size_wh=image.size,
            parameters=[parameters],
        )
