"""What a spec says of the network, its cost function, its targets and the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from training.experiment.group import (
    SHORT_FLAG,
    Flag,
    Group,
    Number,
    Positive,
    Share,
    Text,
    Whole,
    choice,
    ignored,
    must,
    within,
)

Rate = Annotated[Number, within(1e-12, 1)]
Epochs = Annotated[Whole, within(1, 1e6)]


class BboxObjective(Group):
    """The box head's units; a server can do no others."""

    without_effect = ignored("input")
    scale: Annotated[Number, must(lambda v: v == 35, "only 35 can be done here")] = 35.0
    offset: Annotated[Number, must(lambda v: v == 0.5, "only 0.5 can be done here")] = 0.5


class CovObjective(Group):
    """The coverage head."""

    without_effect = ignored("input")


class ObjectiveSet(Group):
    """The heads."""

    bbox: BboxObjective = BboxObjective()
    cov: CovObjective = CovObjective()


class TrainingPrecision(Group):
    """Half precision: ``BFLOAT16``, which is not TLT's; ``FLOAT16`` is computed in float32."""

    backend_floatx: Annotated[
        Literal["FLOAT32", "FLOAT16", "INVALID", "BFLOAT16"],
        choice("FLOAT32", "FLOAT16", "INVALID", "BFLOAT16"),
    ] = "FLOAT32"


class FacekitModel(Group):
    """Not TLT's: a share of a ResNet's channels; a dilated last stage (2, 2, 4, 2, ...)."""

    width_share: Annotated[
        Number,
        within(1 / 64, 1),
        must(lambda share: 64 * share % 1 == 0, "it must be a multiple of 1/64"),
    ] = 1.0
    dilate: Flag = False


class ModelConfig(Group):
    """The network to train, and the weights that it starts from.

    ``load_graph`` takes the layout from the pretrained network too, as for a pruned one.
    ``freeze_bn`` leaves the statistics of the batch norms as they are; their weights are trained.
    ``freeze_blocks`` are not trained: 0 is the first convolution, 1 to 4 the stages.
    """

    without_effect = ignored(
        "freeze_pretrained_layers allow_loaded_model_modification dropout_rate all_projections",
        activation="activation_type activation_parameters",
    )
    pretrained_model_file: Text = ""
    num_layers: Literal[10, 18, 34] = 18
    arch: Literal["resnet"] = "resnet"
    use_batch_norm: Annotated[Literal[True], SHORT_FLAG] = True
    use_pooling: Annotated[Literal[False], SHORT_FLAG] = False
    load_graph: Flag = False
    freeze_bn: Flag = False
    freeze_blocks: tuple[
        Annotated[Number, must(lambda block: block in range(5), "the blocks are 0 to 4")], ...
    ] = ()
    objective_set: ObjectiveSet = ObjectiveSet()
    training_precision: TrainingPrecision = TrainingPrecision()
    facekit: FacekitModel = FacekitModel()

    @property
    def pretrained(self) -> Path | None:
        """A checkpoint, or an ONNX file of a DetectNet_v2 of this kit; None for none."""
        return Path(self.pretrained_model_file) if self.pretrained_model_file else None

    def check(self) -> None:
        """Check that there is a file to take a layout from."""
        if self.load_graph and self.pretrained is None:
            raise self.error("load_graph", "needs a pretrained_model_file")


class Objective(Group):
    """The weight of a class's coverage or boxes, and where automatic weighting takes it."""

    name: Literal["cov", "bbox"]
    initial_weight: Positive | None = None
    weight_target: Positive | None = None


class TargetClass(Group):
    """What a class's errors cost; the foreground's weight is that of covered cells, 0..1."""

    name: Text
    class_weight: Positive = 1.0
    coverage_foreground_weight: Share = 0.05
    objectives: tuple[Objective, ...] = ()

    def weights(self, objective: str) -> tuple[float, float]:
        """Return the initial weight of ``cov`` or ``bbox`` and its target."""
        initial = target = {"cov": 1.0, "bbox": 10.0}[objective]
        for given in self.objectives:
            if given.name == objective:
                initial = initial if given.initial_weight is None else given.initial_weight
                target = target if given.weight_target is None else given.weight_target
        return initial, target

    def check(self) -> None:
        """Check that there is something to learn."""
        if not self.weights("cov")[0] and not self.weights("bbox")[0]:
            raise self.error("objectives", "have no initial_weight over 0: nothing to learn from")


class FacekitCost(Group):
    """Losses. ``CROSS_ENTROPY`` and ``L1`` are TLT's, the others the kit's own.

    ``QUALITY_FOCAL`` trains coverage towards the overlap of the cell's own box, with focus on wrong
    cells; ``GIOU`` is generalized IoU and L1 relative to the size.
    """

    coverage_loss: Annotated[
        Literal["CROSS_ENTROPY", "QUALITY_FOCAL"], choice("CROSS_ENTROPY", "QUALITY_FOCAL")
    ] = "CROSS_ENTROPY"
    bbox_loss: Annotated[Literal["L1", "GIOU"], choice("L1", "GIOU")] = "L1"


class CostFunctionConfig(Group):
    """The cost function; the classes' order is that of the network's channels, as in TLT."""

    target_classes: tuple[TargetClass, ...]
    enable_autoweighting: Flag = False
    max_objective_weight: Positive = 0.9999
    min_objective_weight: Positive = 0.0001
    facekit: FacekitCost = FacekitCost()

    def check(self) -> None:
        """Check that there is something to learn, and the order of the bounds."""
        names: set[str] = set()
        for target in self.target_classes:
            if target.name in names:
                raise target.error("name", f"is {target.name!r} a second time")
            names.add(target.name)
        if not any(target.class_weight for target in self.target_classes):
            reason = "have no class_weight over 0: nothing to learn from"
            raise self.error("target_classes", reason)
        if self.min_objective_weight > self.max_objective_weight:
            raise self.error("min_objective_weight", "is more than max_objective_weight")


class SoftStartAnnealingSchedule(Group):
    """The rate at both ends and between; the shares of the run in which it rises, and stays."""

    min_learning_rate: Rate
    max_learning_rate: Rate
    soft_start: Share
    annealing: Share

    def check(self) -> None:
        """Check the order of rates and shares."""
        if self.min_learning_rate > self.max_learning_rate:
            raise self.error("min_learning_rate", "is more than max_learning_rate")
        if self.soft_start > self.annealing:
            raise self.error("soft_start", "is more than annealing")


class LearningRate(Group):
    """The schedule."""

    without_effect = ignored(
        early_stopping_annealing_schedule="min_learning_rate max_learning_rate soft_start_epochs "
        "annealing_epochs patience_steps"
    )
    exclusive = ("soft_start_annealing_schedule", "early_stopping_annealing_schedule")
    soft_start_annealing_schedule: SoftStartAnnealingSchedule


class Regularizer(Group):
    """A penalty on the convolutions' weights."""

    type: Annotated[Literal["NO_REG", "L1", "L2"], choice("NO_REG", "L1", "L2")] = "NO_REG"
    weight: Positive = 0.0


class Adam(Group):
    """Adam's numbers."""

    epsilon: Share = 1e-8
    beta1: Annotated[Number, within(0, 0.999999)] = 0.9
    beta2: Annotated[Number, within(0, 0.9999999)] = 0.999


class Optimizer(Group):
    """The optimizer."""

    adam: Adam = Adam()


class FacekitTraining(Group):
    """Not TLT's: the decay of averaged weights, which are what is measured; 0 for none."""

    average_decay: Annotated[Number, within(0, 0.999999)] = 0.0


class TrainingConfig(Group):
    """The run: photos a step, times that every photo is shown, epochs between kept networks."""

    without_effect = ignored(
        "enable_qat",
        cost_scaling="enabled initial_exponent increment decrement",
        visualizer="enabled num_images scalar_logging_frequency infrequent_logging_frequency "
        "target_class_config wandb_config clearml_config",
    )
    batch_size_per_gpu: Epochs
    num_epochs: Epochs
    learning_rate: LearningRate
    regularizer: Regularizer = Regularizer()
    optimizer: Optimizer = Optimizer()
    checkpoint_interval: Epochs = 10
    facekit: FacekitTraining = FacekitTraining()

    @property
    def schedule(self) -> SoftStartAnnealingSchedule:
        """The learning rate's."""
        return self.learning_rate.soft_start_annealing_schedule


class ClassRaster(Group):
    """Which cells of the grid a face covers: those in an ellipse.

    Its middle is a share of the box's width and height, its radii are shares of half of them, and
    its least radius is in cells.
    """

    cov_center_x: Share = 0.5
    cov_center_y: Share = 0.5
    cov_radius_x: Annotated[Number, within(0.01, 2)] = 0.4
    cov_radius_y: Annotated[Number, within(0.01, 2)] = 0.4
    bbox_min_radius: Annotated[Number, within(0, 100)] = 1.0


class BboxRasterizerConfig(Group):
    """How faces become targets on the grid.

    Cells between the covered ellipse and this share of the way to the box's own are the dead zone.
    """

    target_class_config: dict[str, ClassRaster] = {}
    deadzone_radius: Share = 0.67

    def rasters(self, names: Sequence[str]) -> tuple[ClassRaster, ...]:
        """Return each class's."""
        default = self.target_class_config.get("default", ClassRaster())
        return tuple(self.target_class_config.get(name, default) for name in names)
