"""The specs of training and evaluation, and what they say of clustering and measuring.

Names and defaults are those of TLT's DetectNet_v2 (the ``.proto`` files of
tao_tensorflow1_backend), so that its specs are read unchanged. A group called ``facekit``, and
``BFLOAT16``, are not TLT's: a spec with one of them is no longer for TLT.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from facekit.detection.parameters import ClusteringParameters
from facekit.errors import ConfigError
from facekit.evaluation.average_precision import AveragePrecisionMode
from facekit.evaluation.class_scores import ClassEvaluation
from training.experiment.data import (
    AugmentationConfig,
    Dataset,
    DatasetConfig,
    KittiConfig,
    make_dataset,
)
from training.experiment.group import (
    Count,
    Group,
    Number,
    Share,
    choice,
    ignored,
    nearest,
    read_group,
)
from training.experiment.training import (
    BboxRasterizerConfig,
    CostFunctionConfig,
    ModelConfig,
    TrainingConfig,
)

LOGGER = logging.getLogger("training")


class FacekitClustering(Group):
    """Not TLT's: boxes of one class give way to better ones of another."""

    cross_class_iou_threshold: Share | None = None


class ClusteringConfig(Group):
    """How cells become boxes; ``ClusteringParameters`` has what the fields mean, and bounds."""

    without_effect = ignored("neighborhood_size")
    clustering_algorithm: (
        Annotated[Literal["DBSCAN", "NMS", "HYBRID"], choice("DBSCAN", "NMS", "HYBRID")] | None
    ) = None
    coverage_threshold: Number | None = None
    minimum_bounding_box_height: Number | None = None
    dbscan_eps: Number | None = None
    dbscan_min_samples: Number | None = None
    dbscan_confidence_threshold: Number | None = None
    nms_iou_threshold: Number | None = None
    nms_confidence_threshold: Number | None = None
    facekit: FacekitClustering = FacekitClustering()

    def check(self) -> None:
        """Check each value by itself."""
        self.parameters(ClusteringParameters())

    def parameters(self, defaults: ClusteringParameters) -> ClusteringParameters:
        """Return a class's clustering; ``defaults`` holds where the spec sets nothing."""
        values = self.model_dump(exclude_none=True, exclude={"facekit"})
        values |= self.facekit.model_dump(exclude_none=True)
        for name, value in values.items():
            try:
                ClusteringParameters(**{name: value})
            except ConfigError as error:
                raise self.error(name, str(error).removeprefix(f"{name} ")) from error
        return ClusteringParameters(**{**vars(defaults), **values})


class PostProcessingClass(Group):
    """A class's clustering."""

    without_effect = ignored(
        confidence_config="confidence_threshold confidence_model_filename normalization_mode"
    )
    clustering_config: ClusteringConfig = ClusteringConfig()


class PostProcessingConfig(Group):
    """The classes' clustering, by class or ``default``."""

    target_class_config: dict[str, PostProcessingClass] = {}

    def clustering(self, names: Sequence[str]) -> tuple[ClusteringParameters, ...]:
        """Return every class's clustering; raises DataError if a class has no entry."""
        # TLT's thresholds are 0 where the spec sets none: the curve of precision ends there.
        defaults = ClusteringParameters(dbscan_confidence_threshold=0, nms_confidence_threshold=0)
        entries, found = self.target_class_config, []
        for name in names:
            entry = entries.get(name, entries.get("default"))
            if entry is None:
                raise self.error("target_class_config", f"has no entry for class {name!r}")
            found.append(entry.clustering_config.parameters(defaults))
        return tuple(found)


class EvaluationBoxConfig(Group):
    """Faces of these sizes count, in pixels of the frame."""

    minimum_height: Count | None = None
    maximum_height: Count | None = None
    minimum_width: Count | None = None
    maximum_width: Count | None = None

    def check(self) -> None:
        """Check the order of the bounds."""
        for side in ("width", "height"):
            least, most = getattr(self, f"minimum_{side}"), getattr(self, f"maximum_{side}")
            if (least or 0) > (inf if most is None else most):
                raise self.error(f"minimum_{side}", f"is more than maximum_{side}")


class EvaluationConfig(Group):
    """When to measure during the training (0: never), and how.

    ``SAMPLE`` is the mean of 11 recalls (VOC before 2010), ``INTEGRATE`` the area (VOC since).
    """

    without_effect = ignored("early_stopping_patience_steps")
    validation_period_during_training: Count = 0
    first_validation_epoch: Count | None = None
    minimum_detection_ground_truth_overlap: dict[str, Share] = {}
    evaluation_box_config: dict[str, EvaluationBoxConfig] = {}
    average_precision_mode: Annotated[AveragePrecisionMode, choice("SAMPLE", "INTEGRATE")] = (
        "SAMPLE"
    )

    @property
    def first_epoch(self) -> int:
        """The epoch to measure at first."""
        first = self.first_validation_epoch
        return self.validation_period_during_training if first is None else first

    def rules(self, names: Sequence[str]) -> tuple[ClassEvaluation, ...]:
        """Return how each class is measured."""
        overlaps, sizes = self.minimum_detection_ground_truth_overlap, self.evaluation_box_config
        found = []
        for name in names:
            size = sizes.get(name, sizes.get("default"))
            values = size.model_dump(exclude_none=True) if size else {}
            if name in overlaps or "default" in overlaps:
                values["minimum_overlap"] = overlaps.get(name, overlaps.get("default"))
            found.append(ClassEvaluation(**values))
        return tuple(found)


class ExperimentSpec(Group):
    """A spec of ``train`` and ``evaluate``."""

    without_effect = ignored(
        loss_mask_label_filter="objective_label_filter_configs mask_multiplier "
        "preserve_ground_truth",
        dataset_export_config="kitti_config coco_config sample_modifier_config "
        "image_directory_path target_class_mapping",
    )
    random_seed: Count = 0
    dataset_config: DatasetConfig
    augmentation_config: AugmentationConfig
    cost_function_config: CostFunctionConfig
    training_config: TrainingConfig
    postprocessing_config: PostProcessingConfig = PostProcessingConfig()
    # pydantic has a use of its own for the name model_config.
    network_config: ModelConfig = Field(default=ModelConfig(), alias="model_config")
    evaluation_config: EvaluationConfig = EvaluationConfig()
    bbox_rasterizer_config: BboxRasterizerConfig = BboxRasterizerConfig()

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the network's channels: that of the cost function."""
        return tuple(target.name for target in self.cost_function_config.target_classes)

    def check(self) -> None:
        """Check that every group is about the same classes."""
        names, dataset = self.class_names, self.dataset_config
        mapping = dataset.target_class_mapping
        for target in self.cost_function_config.target_classes:
            if target.name not in mapping.values():
                hint = nearest(target.name, mapping.values())
                reason = f"is {target.name!r}, which dataset_config.target_class_mapping lacks"
                raise target.error("name", reason + hint)
        for key, value in mapping.items():
            if value not in names:
                reason = f"is {value!r}, which is not a class of cost_function_config"
                raise dataset.error("target_class_mapping", reason + nearest(value, names), key)
        for group, field in (
            (self.evaluation_config, "minimum_detection_ground_truth_overlap"),
            (self.evaluation_config, "evaluation_box_config"),
            (self.postprocessing_config, "target_class_config"),
            (self.bbox_rasterizer_config, "target_class_config"),
        ):
            group.check_keys(field, names)
        self.postprocessing_config.clustering(names)


@dataclass(frozen=True)
class Experiment:
    """A spec, its photos (completed by a tfrecords spec where one was named), and its text."""

    spec: ExperimentSpec
    dataset: Dataset
    text: str

    @property
    def path(self) -> Path:
        """The spec's file, which error messages name."""
        return self.spec.path

    @cached_property
    def clustering(self) -> tuple[ClusteringParameters, ...]:
        """How each class's cells become boxes."""
        return self.spec.postprocessing_config.clustering(self.dataset.class_names)


def read_experiment(
    path: Path, kitti: KittiConfig | None = None, measuring: bool = False
) -> Experiment:
    """Read a spec of TLT's DetectNet_v2 training; see ``read_group`` for errors and warnings.

    For what a tfrecords spec (``kitti``) and ``measuring`` change see ``make_dataset``.
    """
    spec, text = read_group(path, ExperimentSpec)
    dataset = make_dataset(spec.dataset_config, spec.class_names, kitti, measuring)
    held_out = dataset.validation_fold is not None and dataset.validation_share > 0
    evaluation = spec.evaluation_config
    if evaluation.validation_period_during_training and not held_out and not dataset.validation:
        field = "validation_period_during_training"
        LOGGER.warning(
            "%s:%d: evaluation_config.%s has no effect: dataset_config holds out no photos, by "
            "validation_fold and a share or by validation_data_source",
            *(path, evaluation.line_of(field), field),
        )
    precision = spec.network_config.training_precision
    if precision.backend_floatx in ("FLOAT16", "INVALID"):
        line, kind = precision.line_of("backend_floatx"), precision.backend_floatx
        LOGGER.warning("%s:%d: backend_floatx %s is computed in FLOAT32", path, line, kind)
    return Experiment(spec, dataset, text)
