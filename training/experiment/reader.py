"""Reading the specs of training and evaluation: protobuf text to ``settings.Experiment``."""

from __future__ import annotations

import logging
from math import inf
from pathlib import Path
from typing import Any

from facekit.contract import GRID_STRIDE
from training.experiment.classes import (
    class_names_of,
    class_of_labels,
    clustering_of,
    cost_of,
    evaluation_of,
    rasterizer_of,
)
from training.experiment.kitti import KittiFolder, kitti_source, take_kitti
from training.experiment.sections import Range, Section, read_sections
from training.experiment.settings import (
    Augmentation,
    Dataset,
    Experiment,
    Model,
    Training,
)

LOGGER = logging.getLogger("training")
LARGEST_FRAME = 8192
_SHARE: Range = (0.0, 1.0)
_POSITIVE: Range = (0.0, inf)
_HELD_OUT: Range = (0.0, 0.99)
_SEED: Range = (0, 2**32 - 1)

_PREPROCESSING: dict[str, Range] = {"min_bbox_width": _POSITIVE, "min_bbox_height": _POSITIVE}
_SPATIAL: dict[str, Range] = {
    "hflip_probability": _SHARE,
    "vflip_probability": _SHARE,
    "zoom_min": (0.05, 20.0),
    "zoom_max": (0.05, 20.0),
    "translate_max_x": _POSITIVE,
    "translate_max_y": _POSITIVE,
    "rotate_rad_max": (0.0, 3.1416),
}
_COLOR: dict[str, Range] = {
    "color_shift_stddev": _SHARE,
    "hue_rotation_max": (0.0, 360.0),
    "saturation_shift_max": _SHARE,
    "contrast_scale_max": _SHARE,
    "contrast_center": _SHARE,
}
_OURS: dict[str, Range] = {
    "gray_probability": _SHARE,
    "mosaic_probability": _SHARE,
    "whole_frame_period": (0, inf),
}
_RATE: Range = (1e-12, 1.0)
_SCHEDULE: dict[str, Range] = {
    "min_learning_rate": _RATE,
    "max_learning_rate": _RATE,
    "soft_start": _SHARE,
    "annealing": _SHARE,
}
_ADAM: dict[str, Range] = {
    "epsilon": (0.0, 1.0),
    "beta1": (0.0, 0.999999),
    "beta2": (0.0, 0.9999999),
}


def read_experiment(
    path: Path, kitti: KittiFolder | None = None, measuring: bool = False
) -> Experiment:
    """Read a spec of TLT's DetectNet_v2 training.

    A field that is known but not honored is named in a warning.

    Args:
        path: The spec.
        kitti: What a tfrecords spec says (``read_kitti_config``): names of the folders within the
            KITTI folder that it is about, and how the photos are split.
        measuring: Nothing is trained. What ``kitti`` is about is then what to measure, where it is
            no folder to train on.

    Raises:
        DataError: The file can't be read; a field is unknown, missing, of the wrong kind or out of
            range. Names the line. Or ``kitti`` does not belong to this spec.
    """
    spec = read_sections(path, "Experiment")
    spec.require("dataset_config", "augmentation_config", "cost_function_config", "training_config")
    names = class_names_of(spec)
    dataset = _dataset(spec.section("dataset_config"), names, kitti, measuring)
    evaluation = evaluation_of(spec.section("evaluation_config"), names)
    held_out = dataset.validation_fold is not None and dataset.validation_share > 0
    if evaluation.period and not held_out and not dataset.validation:
        field = "validation_period_during_training"
        line = spec.section("evaluation_config").line_of(field)
        LOGGER.warning(
            "%s:%d: evaluation_config.%s has no effect: dataset_config holds out no photos, by "
            "validation_fold and a share or by validation_data_source",
            *(path, line, field),
        )
    return Experiment(
        path=path,
        random_seed=int(spec.given({"random_seed": _SEED}).get("random_seed", 0)),
        dataset=dataset,
        augmentation=_augmentation(spec.section("augmentation_config")),
        clustering=clustering_of(spec.section("postprocessing_config"), names),
        model=_model(spec.section("model_config")),
        evaluation=evaluation,
        cost=cost_of(spec.section("cost_function_config")),
        training=_training(spec.section("training_config"), spec.section("model_config")),
        rasterizer=rasterizer_of(spec.section("bbox_rasterizer_config"), names),
        lines=_lines(spec),
    )


def _lines(spec: Section) -> dict[str, int]:
    """Return ``Experiment.lines``."""
    dataset, model = spec.section("dataset_config"), spec.section("model_config")
    sources = dataset.sections("data_sources")
    if dataset.has("validation_data_source"):
        sources.append(dataset.section("validation_data_source"))
    found: dict[str, int] = {}
    for source in sources:
        root = str(Path(source.message.image_directory_path))
        found.setdefault(root, source.line_of("image_directory_path"))
    if model.has("pretrained_model_file"):
        path = str(Path(model.message.pretrained_model_file))
        found[path] = model.line_of("pretrained_model_file")
    for key, name in dataset.mapping("target_class_mapping").items():
        found.setdefault(f"class {name}", dataset.value_line("target_class_mapping", key))
    return found


def _dataset(
    section: Section, names: tuple[str, ...], kitti: KittiFolder | None, measuring: bool
) -> Dataset:
    section.require("data_sources")
    ours = section.section("facekit")
    split: dict[str, Any] = ours.given({"validation_share": _HELD_OUT})
    if section.has("validation_fold"):
        fold = int(section.message.validation_fold)
        if fold > 1:
            raise section.error("validation_fold", f"is {fold}; there are 2 folds, 0 and 1")
        split["validation_fold"] = fold
    sources = section.sections("data_sources")
    own = [section.section("validation_data_source")]
    own = own if section.has("validation_data_source") else []
    dataset = Dataset(
        training=tuple(kitti_source(s, kitti) for s in sources),
        validation=tuple(kitti_source(s, kitti) for s in own),
        image_extension=section.message.image_extension.lstrip("."),
        class_names=names,
        class_of=class_of_labels(section),
        **split,
    )
    if kitti is not None:
        share = split.get("validation_share", kitti.validation_share)
        trained, measured = (
            [Path(s.message.image_directory_path) for s in part] for part in (sources, own)
        )
        dataset = take_kitti(dataset, trained, measured, kitti, measuring)
        if dataset.validation_fold is not None and share not in (None, dataset.validation_share):
            raise ours.error(
                "validation_share",
                f"is {share:g}, but val_split of {kitti.path}:{kitti.share_line} is "
                f"{100 * dataset.validation_share:g}: they must say the same",
            )
    if dataset.validation_fold == 1 and not dataset.validation and not dataset.validation_share:
        raise section.error(
            "validation_fold", "is 1 and fold 0 empty: no photo is left to train on"
        )
    return dataset


def _augmentation(section: Section) -> Augmentation:
    frame = section.section("preprocessing")
    frame.require("output_image_width", "output_image_height")
    frame.only("output_image_channel", 3)
    ours, spatial = section.section("facekit"), section.section("spatial_augmentation")
    values = {
        **frame.given(_PREPROCESSING),
        **spatial.given(_SPATIAL),
        **section.section("color_augmentation").given(_COLOR),
        **ours.given(_OURS),
    }
    if values.get("zoom_min", 1.0) > values.get("zoom_max", 1.0):
        raise spatial.error("zoom_min", "is more than zoom_max")
    width, height = (_cells(frame, f"output_image_{side}") for side in ("width", "height"))
    if bool(ours.message.crop_width) != bool(ours.message.crop_height):
        raise ours.error("crop_width", "and crop_height are only set together")
    for side, whole in (("crop_width", width), ("crop_height", height)):
        if ours.has(side) and getattr(ours.message, side):
            values[side] = _cells(ours, side, whole)
    return Augmentation(width=width, height=height, **values)


def _cells(section: Section, name: str, most: int = LARGEST_FRAME) -> int:
    """Return a number of pixels that is a whole number of the network's cells."""
    pixels = int(section.given({name: (2 * GRID_STRIDE, most)})[name])
    if pixels % GRID_STRIDE:
        raise section.error(name, f"is {pixels}; it must be a multiple of {GRID_STRIDE}")
    return pixels


def _model(section: Section) -> Model:
    section.only("arch", "resnet")
    section.only("num_layers", 10, 18, 34)
    section.only("use_batch_norm", True)
    section.only("use_pooling", False)
    box = section.section("objective_set").section("bbox")
    box.only("scale", 35.0)
    box.only("offset", 0.5)
    ours = section.section("facekit")
    values: dict[str, Any] = {}
    if section.has("num_layers"):
        values["layers"] = int(section.message.num_layers)
    if section.has("pretrained_model_file") and section.message.pretrained_model_file:
        values["pretrained"] = Path(section.message.pretrained_model_file)
    values |= ours.given({"width_share": (1 / 64, 1.0)})
    if 64 * values.get("width_share", 1.0) % 1:
        raise ours.error("width_share", "must be a multiple of 1/64")
    for name in ("load_graph", "freeze_bn"):
        if section.has(name):
            values[name] = bool(getattr(section.message, name))
    if ours.has("dilate"):
        values["dilate"] = bool(ours.message.dilate)
    if values.get("load_graph") and "pretrained" not in values:
        raise section.error("load_graph", "needs a pretrained_model_file")
    for index, block in enumerate(section.message.freeze_blocks):
        if block not in range(5):
            raise section.error("freeze_blocks", f"has {block:g}; the blocks are 0 to 4", index)
    values["freeze_blocks"] = tuple(sorted({int(b) for b in section.message.freeze_blocks}))
    return Model(**values)


def _training(section: Section, model: Section) -> Training:
    section.require("batch_size_per_gpu", "num_epochs", "learning_rate")
    rates = section.section("learning_rate")
    rates.require("soft_start_annealing_schedule")
    schedule = rates.section("soft_start_annealing_schedule")
    schedule.require(*_SCHEDULE)
    values = schedule.given(_SCHEDULE)
    if values["min_learning_rate"] > values["max_learning_rate"]:
        raise schedule.error("min_learning_rate", "is more than max_learning_rate")
    if values["soft_start"] > values["annealing"]:
        raise schedule.error("soft_start", "is more than annealing")
    for name, key in (("batch_size_per_gpu", "batch_size"), ("num_epochs", "epochs")):
        values[key] = int(section.given({name: (1, 1e6)})[name])
    regularizer = section.section("regularizer")
    if regularizer.choice("type") is not None:
        values["regularizer"] = regularizer.choice("type")
    values |= {
        f"regularizer_{name}": value
        for name, value in regularizer.given({"weight": _POSITIVE}).items()
    }
    adam = section.section("optimizer").section("adam")
    values |= {f"adam_{name}": value for name, value in adam.given(_ADAM).items()}
    values |= section.given({"checkpoint_interval": (1, 1e6)})
    values |= section.section("facekit").given({"average_decay": (0.0, 0.999999)})
    precision = model.section("training_precision")
    kind = precision.choice("backend_floatx")
    if kind in ("FLOAT16", "INVALID"):
        line = precision.line_of("backend_floatx")
        LOGGER.warning("%s:%d: backend_floatx %s is computed in FLOAT32", section.path, line, kind)
    return Training(bfloat16=kind == "BFLOAT16", **values)
