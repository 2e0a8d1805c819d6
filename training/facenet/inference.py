"""Running an exported detector on photos, with the clustering the kit serves or another one.

Decoding and clustering are the kit's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.detection.postprocess import Detections, detect
from facekit.errors import DataError
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME
from training.inference import network_input, open_session

POSTPROCESS_FOLDER = Path(__file__).parents[2] / "model_repository" / "facenet_postprocess"
NEARLY_ALL = ClusteringParameters(
    clustering_algorithm="NMS",
    coverage_threshold=0.05,
    nms_confidence_threshold=0.05,
    nms_iou_threshold=0.5,
)
"""Lets boxes of nearly any coverage through: for the whole curve of precision and recall."""
_PARAMETER = re.compile(r'key:\s*"(\w+)"\s*value:\s*\{\s*string_value:\s*"([^"]*)"')


def served_parameters(folder: Path = POSTPROCESS_FOLDER) -> list[ClusteringParameters]:
    """Read the clustering the model repository serves, one a class.

    Args:
        folder: Folder of the postprocess model, with the label file and ``configs/cpu.pbtxt``, or
            else ``config.pbtxt``, as Triton chooses on the CPU.

    Raises:
        DataError: A file is missing, or the configuration sets no parameters.
        ConfigError: A parameter is wrong.
    """
    path = folder / "configs" / "cpu.pbtxt"
    if not path.exists():
        path = folder / "config.pbtxt"
    try:
        text = path.read_text(encoding="utf-8")
        values = dict(_PARAMETER.findall(re.sub(r"#.*", "", text)))
        labels = folder / values.get("label_file", "labels.txt")
        names = labels.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DataError(path, f"cannot be read with its label file: {error}") from error
    if not values:
        raise DataError(path, "sets no parameters")
    return parse_parameters(values, names, others=("label_file",))


class Detector:
    """An exported detector with the kit's decoding and clustering."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load an ONNX file for ``threads`` threads."""
        self.session = open_session(path, threads)

    def detect(
        self, image: Image.Image, parameters: Sequence[ClusteringParameters], gray: bool = True
    ) -> Detections:
        """Find the faces of a photo.

        Args:
            image: The upright photo.
            parameters: The clustering, one a class.
            gray: As in ``network_input``.
        """
        inputs = {INPUT_NAME: network_input(image, gray=gray)[None]}
        bbox, coverage = self.session.run([BBOX_NAME, COVERAGE_NAME], inputs)
        return detect(
            np.asarray(bbox)[0],
            np.asarray(coverage)[0],
            size_wh=image.size,
            parameters=parameters,
        )
