"""What a spec says of each class: its channel, clustering, cost, targets and how it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

from facekit.detection.parameters import ClusteringParameters
from facekit.errors import ConfigError, DataError
from training.experiment.sections import Range, Section
from training.experiment.settings import (
    ClassCost,
    ClassEvaluation,
    ClassRaster,
    Cost,
    Evaluation,
    Rasterizer,
)
from training.experiment.walk import nearest

_SHARE: Range = (0.0, 1.0)
_POSITIVE: Range = (0.0, inf)
_BOX_SIZES: dict[str, Range] = {
    f"{bound}_{side}": (0, inf) for bound in ("minimum", "maximum") for side in ("width", "height")
}
_CLASS_COST: dict[str, Range] = {
    "class_weight": _POSITIVE,
    "coverage_foreground_weight": _SHARE,
}
_OBJECTIVE: dict[str, Range] = {"initial_weight": _POSITIVE, "weight_target": _POSITIVE}
_OBJECTIVES = {"cov": "coverage", "bbox": "bbox"}
_AUTOWEIGHTING: dict[str, Range] = {
    "max_objective_weight": _POSITIVE,
    "min_objective_weight": _POSITIVE,
}
_RASTER: dict[str, Range] = {
    "cov_center_x": _SHARE,
    "cov_center_y": _SHARE,
    "cov_radius_x": (0.01, 2.0),
    "cov_radius_y": (0.01, 2.0),
    "bbox_min_radius": (0.0, 100.0),
}
_CLUSTERING = (
    "coverage_threshold",
    "dbscan_eps",
    "dbscan_min_samples",
    "dbscan_confidence_threshold",
    "minimum_bounding_box_height",
    "nms_iou_threshold",
    "nms_confidence_threshold",
)


def class_names_of(spec: Section) -> tuple[str, ...]:
    """Return the classes in the order of the channels: that of the cost function, as in TLT."""
    cost, dataset = spec.section("cost_function_config"), spec.section("dataset_config")
    cost.require("target_classes")
    dataset.require("target_class_mapping")
    mapping = dataset.mapping("target_class_mapping")
    names: list[str] = []
    for target in cost.sections("target_classes"):
        target.require("name")
        name = target.message.name
        if name in names:
            raise target.error("name", f"is {name!r} a second time")
        if name not in mapping.values():
            hint = nearest(name, mapping.values())
            raise target.error(
                "name", f"is {name!r}, which dataset_config.target_class_mapping lacks{hint}"
            )
        names.append(name)
    for key, value in mapping.items():
        if value not in names:
            reason = (
                f"target_class_mapping[{key}] is {value!r}, which is no class of "
                f"cost_function_config{nearest(value, names)}"
            )
            raise DataError(spec.path, reason, dataset.value_line("target_class_mapping", key))
    return tuple(names)


def class_of_labels(dataset: Section) -> dict[str, str]:
    """Return the class of each name in the label files, whose case does not matter.

    Raises:
        DataError: Two keys that differ in case alone have different classes.
    """
    found: dict[str, str] = {}
    for key, value in dataset.mapping("target_class_mapping").items():
        if found.setdefault(key.lower(), value) != value:
            reason = (
                f"target_class_mapping[{key}] is {value!r}, but the same name in another case is "
                f"{found[key.lower()]!r}; case does not matter here"
            )
            raise DataError(dataset.path, reason, dataset.value_line("target_class_mapping", key))
    return found


def clustering(section: Section, defaults: ClusteringParameters) -> ClusteringParameters:
    """Return a class's clustering from a ``clustering_config``.

    Args:
        section: The group.
        defaults: What holds where the spec sets nothing.

    Raises:
        DataError: A value is out of range.
    """
    values: dict[str, Any] = {
        name: getattr(section.message, name) for name in _CLUSTERING if section.has(name)
    }
    ours = section.section("facekit")
    values |= ours.given({"cross_class_iou_threshold": _SHARE})
    algorithm = section.choice("clustering_algorithm")
    if algorithm is not None:
        values["clustering_algorithm"] = algorithm
    for name, value in values.items():
        try:
            replace(defaults, **{name: value})
        except ConfigError as error:
            raise section.error(name, str(error).removeprefix(f"{name} ")) from error
    return replace(defaults, **values)


def clustering_of(section: Section, names: Sequence[str]) -> tuple[ClusteringParameters, ...]:
    """Return every class's clustering from ``postprocessing_config``.

    Raises:
        DataError: A class has no entry, an entry is no class's, or a value is out of range.
    """
    section.check_keys("target_class_config", names)
    # TLT's thresholds are 0 where the spec sets none: the curve of precision is drawn to its end.
    defaults = ClusteringParameters(dbscan_confidence_threshold=0, nms_confidence_threshold=0)
    entries = section.entries("target_class_config")
    default = entries.get("default")
    found = []
    for name in names:
        entry = entries.get(name, default)
        if entry is None:
            raise section.error("target_class_config", f"has no entry for class {name!r}")
        found.append(clustering(entry.section("clustering_config"), defaults))
    return tuple(found)


def evaluation_of(section: Section, names: Sequence[str]) -> Evaluation:
    """Return how to measure each class from ``evaluation_config``.

    Raises:
        DataError: An entry is no class's, or a value is out of range.
    """
    overlap, boxes = "minimum_detection_ground_truth_overlap", "evaluation_box_config"
    for name in (overlap, boxes):
        section.check_keys(name, names)
    overlaps, sizes = section.mapping(overlap), section.entries(boxes)
    for name, value in overlaps.items():
        if not 0 <= value <= 1:
            line = section.value_line(overlap, name)
            raise DataError(section.path, f"{overlap}[{name}] is {value:g}; not in 0 to 1", line)
    classes = []
    for name in names:
        values = {}
        size = sizes.get(name, sizes.get("default"))
        if size is not None:
            values = size.given(_BOX_SIZES)
            for side in ("width", "height"):
                if values.get(f"minimum_{side}", 0) > values.get(f"maximum_{side}", inf):
                    raise size.error(f"minimum_{side}", f"is more than maximum_{side}")
        if name in overlaps or "default" in overlaps:
            values["minimum_overlap"] = overlaps.get(name, overlaps.get("default"))
        classes.append(ClassEvaluation(**values))
    period = int(section.message.validation_period_during_training)
    first = section.message.first_validation_epoch
    return Evaluation(
        period=period,
        first_epoch=int(first) if section.has("first_validation_epoch") else period,
        mode="INTEGRATE" if section.choice("average_precision_mode") == "INTEGRATE" else "SAMPLE",
        classes=tuple(classes),
    )


def cost_of(section: Section) -> Cost:
    """Return ``cost_function_config``.

    Raises:
        DataError: An objective is unknown, or a value is out of range.
    """
    classes = []
    for target in section.sections("target_classes"):
        values = target.given(_CLASS_COST)
        for objective in target.sections("objectives"):
            objective.require("name")
            objective.only("name", *_OBJECTIVES)
            prefix = _OBJECTIVES[objective.message.name]
            weights = objective.given(_OBJECTIVE)
            if "initial_weight" in weights:
                values[f"{prefix}_initial_weight"] = weights["initial_weight"]
            if "weight_target" in weights:
                values[f"{prefix}_weight_target"] = weights["weight_target"]
        cost = ClassCost(**values)
        if not cost.coverage_initial_weight and not cost.bbox_initial_weight:
            raise target.error("objectives", "have no initial_weight over 0: nothing to learn from")
        classes.append(cost)
    if not any(cost.class_weight for cost in classes):
        raise section.error("target_classes", "have no class_weight over 0: nothing to learn from")
    values = section.given(_AUTOWEIGHTING)
    if values.get("min_objective_weight", 0.0) > values.get("max_objective_weight", inf):
        raise section.error("min_objective_weight", "is more than max_objective_weight")
    ours = section.section("facekit")
    for name in ("coverage_loss", "bbox_loss"):
        loss = ours.choice(name)
        if loss is not None:
            values[name] = loss
    return Cost(tuple(classes), bool(section.message.enable_autoweighting), **values)


def rasterizer_of(section: Section, names: Sequence[str]) -> Rasterizer:
    """Return ``bbox_rasterizer_config``.

    Raises:
        DataError: An entry is no class's, or a value is out of range.
    """
    section.check_keys("target_class_config", names)
    entries = section.entries("target_class_config")
    default = entries.get("default")
    found = [entries.get(name, default) for name in names]
    classes = tuple(ClassRaster(**(e.given(_RASTER) if e else {})) for e in found)
    return Rasterizer(classes, **section.given({"deadzone_radius": _SHARE}))
