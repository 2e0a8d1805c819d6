"""Specs of ``infer``: which network to run, how its cells become boxes, and how they are drawn."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from facekit.detection.parameters import ClusteringParameters
from training.experiment.data import Pixels
from training.experiment.group import Flag, Group, Number, Text, Whole, ignored, read_group, within
from training.experiment.spec import ClusteringConfig

Channel = Annotated[Whole, within(0, 255)]


class TltConfig(Group):
    """A checkpoint or an ONNX file."""

    model: Text = ""


class TensorRtConfig(Group):
    """A file that is run where it is an ONNX file; engines are run by a server, not here."""

    without_effect = ignored(
        "parser caffemodel prototxt uff_model backend_data_type save_engine",
        calibrator_config="calibration_cache calibration_tensorfile n_batches",
    )
    trt_engine: Text = ""
    etlt_model: Text = ""


class InferencerConfig(Group):
    """The network; its classes are in the order of its channels."""

    without_effect = ignored("batch_size gpu_index input_nodes output_nodes stride")
    exclusive = ("tlt_config", "tensorrt_config")
    tlt_config: TltConfig = TltConfig()
    tensorrt_config: TensorRtConfig = TensorRtConfig()
    target_classes: tuple[Text, ...]
    image_width: Pixels
    image_height: Pixels
    image_channels: Literal[3] = 3

    def check(self) -> None:
        """Check that no class is named twice."""
        for index, name in enumerate(self.target_classes):
            if name in self.target_classes[:index]:
                raise self.error("target_classes", f"has {name!r} a second time", index)


class BboxColor(Group):
    """Red, green and blue."""

    R: Channel = 0
    G: Channel = 0
    B: Channel = 0


class ClassDrawing(NamedTuple):
    """How a class's cells become boxes, its name in label files (``output_map``), and its color."""

    clustering: ClusteringParameters
    name: str
    color_rgb: tuple[int, int, int]


class ClasswiseBboxHandlerConfig(Group):
    """A class's clustering, its name in label files and its color.

    A cluster's confidence is what its coverage adds up to; the other kind of TLT needs a network
    of its own.
    """

    clustering_config: ClusteringConfig = ClusteringConfig()
    confidence_model: Literal["aggregate_cov"] = "aggregate_cov"
    confidence_threshold: Annotated[Number, within(0, 1e6)] | None = None
    output_map: Text = ""
    bbox_color: BboxColor = BboxColor()

    def check(self) -> None:
        """Check that label files can hold the name."""
        if self.output_map and len(self.output_map.split()) != 1:
            reason = f"is {self.output_map!r}; a KITTI label's class is one word"
            raise self.error("output_map", reason)

    def drawing(self, name: str) -> ClassDrawing:
        """Return a class's clustering, label and color."""
        # Older specs have the threshold beside the clustering, newer ones within it.
        defaults = ClusteringParameters()
        outer, color = self.confidence_threshold, self.bbox_color
        if outer is not None:
            defaults = ClusteringParameters(
                dbscan_confidence_threshold=outer, nms_confidence_threshold=min(outer, 1.0)
            )
        clustering = self.clustering_config.parameters(defaults)
        return ClassDrawing(clustering, self.output_map or name, (color.R, color.G, color.B))


class BboxHandlerConfig(Group):
    """What is written: label files in KITTI's form, and photos with boxes drawn (an overlay)."""

    without_effect = ignored(
        "postproc_classes",
        wandb_config="enabled key project entity reinit name tags wandb_dir notes mode",
    )
    kitti_dump: Flag = False
    disable_overlay: Flag = False
    overlay_linewidth: Annotated[Whole, within(1, 100)] = 2
    classwise_bbox_handler_config: dict[str, ClasswiseBboxHandlerConfig] = {}


class InferenceSpec(Group):
    """A whole spec of ``infer``."""

    inferencer_config: InferencerConfig
    bbox_handler_config: BboxHandlerConfig

    @property
    def class_names(self) -> tuple[str, ...]:
        """The network's classes in the order of its channels."""
        return self.inferencer_config.target_classes

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the network's frame in pixels, multiples of 16."""
        return self.inferencer_config.image_width, self.inferencer_config.image_height

    @property
    def model(self) -> Path | None:
        """The network: a checkpoint or an ONNX file. None where the spec names none."""
        network, engine = self.inferencer_config, self.inferencer_config.tensorrt_config
        found = network.tlt_config.model or engine.trt_engine or engine.etlt_model
        return Path(found) if found else None

    @cached_property
    def classes(self) -> tuple[ClassDrawing, ...]:
        """Each class's clustering, label and color, from its entry or that of ``default``."""
        field = "classwise_bbox_handler_config"
        boxes, found = self.bbox_handler_config, []
        for index, name in enumerate(self.class_names):
            entries = boxes.classwise_bbox_handler_config
            entry = entries.get(name, entries.get("default"))
            if entry is None:
                raise boxes.error(field, f"has no entry for class {name!r}, nor for 'default'")
            if len(name.split()) != 1 and not entry.output_map:
                reason = f"has {name!r}, which no KITTI label can hold: give it an output_map"
                raise self.inferencer_config.error("target_classes", f"{reason} of one word", index)
            found.append(entry.drawing(name))
        return tuple(found)

    def check(self) -> None:
        """Check that every class has an entry."""
        boxes = self.bbox_handler_config
        boxes.check_keys("classwise_bbox_handler_config", self.class_names)
        _ = self.classes


def read_inference(path: Path) -> InferenceSpec:
    """Read a spec of TLT's DetectNet_v2 inference.

    An engine that the spec names is taken as the model's file like any other; it is refused when it
    is opened. For errors and warnings see ``read_group``.
    """
    return read_group(path, InferenceSpec)[0]
