"""What an experiment spec asks for, as plain values: all that the trainer knows of a spec.

Names and defaults are those of TLT's DetectNet_v2 specs (the ``.proto`` files of
tao_tensorflow1_backend) where TLT has them; what it does not have says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facekit.detection.parameters import ClusteringParameters
from facekit.evaluation.average_precision import AveragePrecisionMode as AveragePrecisionMode
from facekit.evaluation.class_scores import ClassEvaluation as ClassEvaluation


@dataclass(frozen=True)
class DataSource:
    """A KITTI folder.

    Attributes:
        image_folder: Folder of the photos, ``<root>/images``.
        label_folder: Folder of the label files, ``<root>/labels``.
    """

    image_folder: Path
    label_folder: Path


@dataclass(frozen=True)
class Dataset:
    """Which photos to train and to measure on.

    Attributes:
        training: Folders to train on.
        validation: Folders to measure on; empty where ``validation_fold`` says which photos.
        image_extension: Suffix of the photos, without the dot; empty for any.
        class_names: The network's classes in the order of its channels: the values of
            ``target_class_mapping`` in the order they first stand in the spec.
        class_of: Class name by the lower-case name in the label files. An object of another
            name is ignored: neither a face nor background.
        validation_fold: Which part of the training photos is held out, None for none.
            There are two: 0 holds ``validation_share`` of the photos, 1 the others.
        validation_share: Share of fold 0 (``val_split`` of the tfrecords spec).
    """

    training: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    image_extension: str
    class_names: tuple[str, ...]
    class_of: dict[str, str]
    validation_fold: int | None = None
    validation_share: float = 0.2


@dataclass(frozen=True)
class Augmentation:
    """How photos become frames.

    Attributes:
        width: Width of the frame in pixels, a multiple of 16 (``output_image_width``).
        height: Height likewise.
        min_bbox_width: Narrower faces (frame pixels) are ignored.
        min_bbox_height: Lower faces are ignored.
        hflip_probability: Chance to mirror left and right.
        vflip_probability: Chance to turn upside down.
        zoom_min: Least factor of the picture's size.
        zoom_max: Largest factor.
        translate_max_x: Largest shift in pixels.
        translate_max_y: Largest shift in pixels.
        rotate_rad_max: Largest rotation in radians.
        color_shift_stddev: Spread of a shift of each channel, in shares of white.
        hue_rotation_max: Largest rotation of the hue in degrees.
        saturation_shift_max: Largest relative change of the saturation.
        contrast_scale_max: Largest relative change of the contrast.
        contrast_center: The value, as a share of white, that the contrast change leaves.
        gray_probability: Not TLT's. Chance to drop the color.
        mosaic_probability: Not TLT's. Chance that a frame shows four photos, each in a quarter.
        crop_width: Not TLT's. Width of the part of a frame to train on, 0 for all of it.
        crop_height: Not TLT's. Height likewise.
        whole_frame_period: Not TLT's. With crops: every so manyth batch shows whole frames.
    """

    width: int
    height: int
    min_bbox_width: float = 0.0
    min_bbox_height: float = 0.0
    hflip_probability: float = 0.0
    vflip_probability: float = 0.0
    zoom_min: float = 1.0
    zoom_max: float = 1.0
    translate_max_x: float = 0.0
    translate_max_y: float = 0.0
    rotate_rad_max: float = 0.0
    color_shift_stddev: float = 0.0
    hue_rotation_max: float = 0.0
    saturation_shift_max: float = 0.0
    contrast_scale_max: float = 0.0
    contrast_center: float = 0.5
    gray_probability: float = 0.0
    mosaic_probability: float = 0.0
    crop_width: int = 0
    crop_height: int = 0
    whole_frame_period: int = 0


@dataclass(frozen=True)
class Model:
    """The network to train.

    Attributes:
        layers: 10, 18 or 34 (``num_layers``).
        pretrained: Weights to start from, None for none: a checkpoint, or an ONNX file of a
            DetectNet_v2 of this kit.
        load_graph: Take the layout from ``pretrained`` too, as for a pruned network.
        width_share: Not TLT's. Share of a ResNet's channels, a multiple of 1/64.
        dilate: Not TLT's. Dilate the last stage's convolutions 2, 2, 4, 2 (and 2 from there on).
        freeze_bn: Leave the statistics of the batch norms as they are; weights are trained.
        freeze_blocks: Stages not to train: 0 is the first convolution, 1 to 4 the stages.
        bbox_scale: ``objective_set.bbox.scale``; 35 is all that the kit serves.
        bbox_offset: ``objective_set.bbox.offset``; 0.5 is all that the kit serves.
    """

    layers: int = 18
    pretrained: Path | None = None
    load_graph: bool = False
    width_share: float = 1.0
    dilate: bool = False
    freeze_bn: bool = False
    freeze_blocks: tuple[int, ...] = ()
    bbox_scale: float = 35.0
    bbox_offset: float = 0.5


@dataclass(frozen=True)
class Evaluation:
    """When and how to measure.

    Attributes:
        period: Epochs between two measurements during the training, 0 for none.
        first_epoch: The first one.
        mode: ``SAMPLE`` (11 recalls, VOC before 2010) or ``INTEGRATE`` (area, VOC since).
        classes: One entry a class, in their order.
    """

    period: int
    first_epoch: int
    mode: AveragePrecisionMode
    classes: tuple[ClassEvaluation, ...]


@dataclass(frozen=True)
class ClassCost:
    """What a class's errors cost.

    Attributes:
        class_weight: Weight of the class.
        coverage_foreground_weight: Weight of covered cells against the others, 0..1.
        coverage_initial_weight: Weight of the coverage loss at the start.
        coverage_weight_target: Where automatic weighting takes it.
        bbox_initial_weight: Weight of the box loss at the start.
        bbox_weight_target: Where automatic weighting takes it.
    """

    class_weight: float = 1.0
    coverage_foreground_weight: float = 0.05
    coverage_initial_weight: float = 1.0
    coverage_weight_target: float = 1.0
    bbox_initial_weight: float = 10.0
    bbox_weight_target: float = 10.0


@dataclass(frozen=True)
class Cost:
    """The cost function.

    Attributes:
        classes: One entry a class, in their order.
        autoweighting: Move the objectives' weights towards their targets as TLT does.
        max_objective_weight: Upper bound of an automatic weight.
        min_objective_weight: Lower bound.
        coverage_loss: ``CROSS_ENTROPY`` is TLT's; ``QUALITY_FOCAL`` is not: coverage is trained
            towards the overlap of the cell's own box, with focus on wrong cells.
        bbox_loss: ``L1`` is TLT's; ``GIOU`` is not: generalized IoU and L1 relative to the size.
    """

    classes: tuple[ClassCost, ...]
    autoweighting: bool = False
    max_objective_weight: float = 0.9999
    min_objective_weight: float = 0.0001
    coverage_loss: Literal["CROSS_ENTROPY", "QUALITY_FOCAL"] = "CROSS_ENTROPY"
    bbox_loss: Literal["L1", "GIOU"] = "L1"


@dataclass(frozen=True)
class Training:
    """The run.

    Attributes:
        batch_size: Photos a step (``batch_size_per_gpu``).
        epochs: Times that every photo is shown.
        min_learning_rate: Rate at the start and at the end.
        max_learning_rate: Rate between.
        soft_start: Share of the run in which the rate rises.
        annealing: Share of the run from which on it falls.
        regularizer: ``L1``, ``L2`` or none.
        regularizer_weight: Its weight.
        adam_epsilon: Adam's epsilon.
        adam_beta1: Adam's beta 1.
        adam_beta2: Adam's beta 2.
        checkpoint_interval: Epochs between checkpoints that are kept.
        average_decay: Not TLT's. Decay of averaged weights, which are then what is measured and
            exported; 0 for none.
        bfloat16: Not TLT's (``backend_floatx: BFLOAT16``). Compute the backbone in bfloat16.
    """

    batch_size: int
    epochs: int
    min_learning_rate: float
    max_learning_rate: float
    soft_start: float
    annealing: float
    regularizer: Literal["L1", "L2", "NO_REG"] = "NO_REG"
    regularizer_weight: float = 0.0
    adam_epsilon: float = 1e-8
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    checkpoint_interval: int = 10
    average_decay: float = 0.0
    bfloat16: bool = False


@dataclass(frozen=True)
class ClassRaster:
    """Which cells of the grid a face covers.

    Attributes:
        cov_center_x: Where the covered ellipse's middle is, share of the box's width.
        cov_center_y: Likewise, share of the height.
        cov_radius_x: Its radius, share of half the box's width.
        cov_radius_y: Likewise, share of half the height.
        bbox_min_radius: Least radius in grid cells.
    """

    cov_center_x: float = 0.5
    cov_center_y: float = 0.5
    cov_radius_x: float = 0.4
    cov_radius_y: float = 0.4
    bbox_min_radius: float = 1.0


@dataclass(frozen=True)
class Rasterizer:
    """How faces become targets on the grid.

    Attributes:
        classes: One entry a class, in their order.
        deadzone_radius: Cells between the covered ellipse and this much of the box's own are
            neither face nor background, 0..1.
    """

    classes: tuple[ClassRaster, ...]
    deadzone_radius: float = 0.67


@dataclass(frozen=True)
class Experiment:
    """A whole experiment spec.

    Attributes:
        path: Its file, which error messages name.
        lines: Where in it the things stand that can turn out wrong later: the path of each folder
            and of the pretrained network, and ``class <name>``.
    """

    path: Path
    random_seed: int
    dataset: Dataset
    augmentation: Augmentation
    clustering: tuple[ClusteringParameters, ...]
    model: Model
    evaluation: Evaluation
    cost: Cost
    training: Training
    rasterizer: Rasterizer
    lines: dict[str, int] = field(default_factory=dict)
