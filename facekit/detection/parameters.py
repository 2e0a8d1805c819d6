"""The parameters of the clustering, under TAO's names, checked when a model loads.

Sources of names and defaults: ``postprocessing_config.proto`` and ``inferencer_spec_etlt`` of
tao_tensorflow1_backend (face: coverage 0.005, eps 0.3, min_samples 1, confidence 0.9, height 4; NMS
overlap 0.3 and confidence 0.1). ``cross_class_iou_threshold`` is the kit's own: TAO and DeepStream
cluster each class by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from facekit.errors import ConfigError

ALGORITHMS = ("DBSCAN", "NMS", "HYBRID")


@dataclass(frozen=True)
class ClusteringParameters:
    """How the cells of one class become boxes.

    Attributes:
        clustering_algorithm: ``DBSCAN``, ``NMS`` or ``HYBRID`` (DBSCAN selects the clusters, NMS a
            box of each).
        coverage_threshold: Cells at or below this coverage are ignored, 0..1.
        dbscan_eps: Largest 1 - IoU between neighbors, 0..1.
        dbscan_min_samples: Least sum of coverages of a neighborhood, at least 1; truncated to a
            whole number, as in TAO.
        dbscan_confidence_threshold: Least sum of coverages of a cluster; may exceed 1.
        minimum_bounding_box_height: Boxes of this height or less are dropped, network pixels.
        nms_iou_threshold: Boxes that overlap a better one by more than this are dropped, 0..1.
        nms_confidence_threshold: Least coverage of a box for NMS, 0..1.
        cross_class_iou_threshold: Boxes of this class that overlap a better one of another class by
            more than this are dropped, 0..1; at 1 none is.
    """

    clustering_algorithm: str = "DBSCAN"
    coverage_threshold: float = 0.005
    dbscan_eps: float = 0.3
    dbscan_min_samples: float = 1.0
    dbscan_confidence_threshold: float = 0.9
    minimum_bounding_box_height: float = 4.0
    nms_iou_threshold: float = 0.3
    nms_confidence_threshold: float = 0.1
    cross_class_iou_threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.clustering_algorithm not in ALGORITHMS:
            raise ConfigError(
                f"clustering_algorithm is {self.clustering_algorithm!r}; "
                f"it must be one of {', '.join(ALGORITHMS)}"
            )
        for name in (field.name for field in fields(self) if field.type == "float"):
            value = getattr(self, name)
            if name in _UNBOUNDED:
                valid, bound = 0 <= value < math.inf, "0 or more"
            else:
                valid, bound = 0 <= value <= 1, "between 0 and 1"
            if not valid:
                raise ConfigError(f"{name} is {value:g}; it must be {bound}")

    def at(self, threshold: float | None) -> ClusteringParameters:
        """Return these parameters with another least score, 0..1; None for their own.

        The least sums of DBSCAN and HYBRID become no higher than it; ``dbscan_min_samples`` stays.
        """
        if threshold is None:
            return self
        return replace(
            self,
            coverage_threshold=threshold,
            nms_confidence_threshold=threshold,
            dbscan_confidence_threshold=min(self.dbscan_confidence_threshold, threshold),
        )


_UNBOUNDED = ("dbscan_min_samples", "dbscan_confidence_threshold", "minimum_bounding_box_height")
"""Parameters that may exceed 1."""


def parse_parameters(
    values: Mapping[str, str], class_names: Sequence[str], *, others: Sequence[str] = ()
) -> list[ClusteringParameters]:
    """Read the ``parameters`` of a model's configuration, one ``ClusteringParameters`` a class.

    A text is one value for all classes, or one for each of ``class_names``, separated by commas.
    ``others`` are parameters to skip, which are not of the clustering. Raises ConfigError if one is
    unknown, not a number or out of range, or does not have one value for each class.

    >>> [p.dbscan_eps for p in parse_parameters({"dbscan_eps": "0.3,0.2"}, ["mask", "no_mask"])]
    [0.3, 0.2]
    """
    known = [field.name for field in fields(ClusteringParameters)]
    unknown = [name for name in values if name not in known and name not in others]
    if unknown:
        raise ConfigError(
            f"unknown parameter {unknown[0]!r}; known are {', '.join([*known, *others])}"
        )
    per_class: list[dict[str, str | float]] = [{} for _ in class_names]
    for name, text in values.items():
        if name in others:
            continue
        parts = [part.strip() for part in text.split(",")]
        if len(parts) == 1:
            parts *= len(class_names)
        if len(parts) != len(class_names):
            raise ConfigError(
                f"{name} has {len(parts)} values for {len(class_names)} classes "
                f"({', '.join(class_names)})"
            )
        for parsed, part in zip(per_class, parts, strict=True):
            parsed[name] = part.upper() if name == "clustering_algorithm" else _number(name, part)
    return [ClusteringParameters(**parsed) for parsed in per_class]  # type: ignore[arg-type]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}; a number is needed") from error
