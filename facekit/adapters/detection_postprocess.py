"""``facenet_postprocess`` and ``facemask_postprocess``: grids in, boxes in photo pixels out."""

import numpy as np

from facekit.adapters.requests import (
    Array,
    EachRequest,
    ModelFiles,
    Request,
    pad,
    read,
    read_parameters,
)
from facekit.contract import NO_LABEL
from facekit.detection.labels import read_class_names
from facekit.detection.parameters import parse_parameters
from facekit.detection.postprocess import detect
from facekit.detection.search import read_threshold
from facekit.errors import ConfigError, InputError


class TritonPythonModel(EachRequest):
    """Grid decode and clustering with the parameters of the model's configuration.

    A request may ask for another least score by its parameter ``threshold``.

    The boxes of all classes are returned together, best first. The output ``true_labels``, where
    the configuration has it, contains their classes.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read parameters and label file; raises ConfigError if they are wrong or do not fit."""
        files = ModelFiles(args)
        self._class_names = read_labels(files)
        self._parameters = parse_parameters(
            files.parameters, self._class_names, others=("label_file",)
        )
        outputs = {tensor["name"] for tensor in files.config["output"]}
        self._has_labels = "true_labels" in outputs

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        bbox = read(request, "output_bbox/BiasAdd")
        cov = read(request, "output_cov/Sigmoid")
        sizes = read(request, "true_image_size")
        if not np.isfinite(cov).all():
            raise InputError("`output_cov/Sigmoid` contains NaN or infinity: the network is broken")
        check_sizes(sizes)
        threshold = read_threshold(read_parameters(request))
        parameters = [each.at(threshold) for each in self._parameters]
        found = [
            detect(b, c, size_wh=(int(size[1]), int(size[0])), parameters=parameters)
            for b, c, size in zip(bbox, cov, sizes, strict=True)
        ]
        outputs = {
            "true_boxes": pad([one.boxes_xyxy for one in found]),
            "true_proba": pad([one.scores[:, None] for one in found]),
            "true_image_size": sizes,
            "true_count": np.array([[len(one)] for one in found], np.int32),
        }
        if self._has_labels:
            outputs["true_labels"] = pad([one.class_ids for one in found], NO_LABEL)
        return outputs


def check_sizes(sizes_hwc: Array) -> None:
    """Raise InputError if a height or width of ``true_image_size``, int64 (B, 3), is below 1."""
    if (sizes_hwc[:, :2] < 1).any():
        raise InputError(f"`true_image_size` {sizes_hwc.tolist()}: height and width start at 1")


def read_labels(files: ModelFiles) -> list[str]:
    """Read the class names; raises ConfigError unless they fit the contract and the coverage."""
    path = files.folder / files.parameters.get("label_file", "labels.txt")
    names = read_class_names(path, files.folder.name.removesuffix("_postprocess"))
    dims = {tensor["name"]: tensor["dims"] for tensor in files.config["input"]}
    classes = int(dims["output_cov/Sigmoid"][0])
    if len(names) != classes:
        raise ConfigError(
            f"label file {path} names {len(names)} classes; `output_cov/Sigmoid` has {classes}"
        )
    return names
