"""Specs of ``infer``: which network to run, how its cells become boxes, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from facekit.contract import GRID_STRIDE
from facekit.detection.parameters import ClusteringParameters
from training.experiment.classes import clustering
from training.experiment.sections import Range, Section, read_sections

Color = tuple[int, int, int]
_SIDE: Range = (2 * GRID_STRIDE, 8192)
_CHANNEL: Range = (0, 255)
_CONFIDENCE: Range = (0.0, 1e6)


@dataclass(frozen=True)
class ClassDrawing:
    """What becomes of the boxes of one class.

    Attributes:
        clustering: How its cells become boxes.
        name: What label files call it (``output_map``).
        color_rgb: Color of its boxes.
    """

    clustering: ClusteringParameters
    name: str
    color_rgb: Color


@dataclass(frozen=True)
class InferenceSpec:
    """A whole spec of ``infer``.

    Attributes:
        path: Its file, which error messages name.
        model: The network: a checkpoint or an ONNX file. None where the spec names none.
        class_names: The network's classes in the order of its channels.
        width: Width of the network's frame in pixels, a multiple of 16.
        height: Height likewise.
        labels: Write label files in KITTI's form.
        overlay: Write photos with the boxes drawn.
        line_width: Width of the boxes' lines in pixels.
        classes: One entry a class, in their order.
    """

    path: Path
    model: Path | None
    class_names: tuple[str, ...]
    width: int
    height: int
    labels: bool
    overlay: bool
    line_width: int
    classes: tuple[ClassDrawing, ...]


def read_inference(path: Path) -> InferenceSpec:
    """Read a spec of TLT's DetectNet_v2 inference.

    A field that is known but not honored is named in a warning. An engine that the spec names is
    taken as the model's file like any other; whoever opens it finds that it is none.

    Raises:
        DataError: The file can't be read; a field is unknown, missing, of the wrong kind or out of
            range. Names the line.
    """
    spec = read_sections(path, "Inference")
    spec.require("inferencer_config", "bbox_handler_config")
    network, boxes = spec.section("inferencer_config"), spec.section("bbox_handler_config")
    network.require("target_classes", "image_width", "image_height")
    network.only("image_channels", 3)
    sides = network.given({"image_width": _SIDE, "image_height": _SIDE})
    for name, side in sides.items():
        if side % GRID_STRIDE:
            raise network.error(name, f"is {side}; it must be a multiple of {GRID_STRIDE}")
    names = tuple(network.message.target_classes)
    for index, name in enumerate(names):
        if name in names[:index]:
            raise network.error("target_classes", f"has {name!r} a second time", index)
    line_width = boxes.given({"overlay_linewidth": (1, 100)}).get("overlay_linewidth", 2)
    return InferenceSpec(
        path=path,
        model=_model(network),
        class_names=names,
        width=int(sides["image_width"]),
        height=int(sides["image_height"]),
        labels=bool(boxes.message.kitti_dump),
        overlay=not boxes.message.disable_overlay,
        line_width=int(line_width),
        classes=_classes(network, boxes, names),
    )


def _model(network: Section) -> Path | None:
    trt = network.section("tensorrt_config").message
    found = network.section("tlt_config").message.model or trt.trt_engine or trt.etlt_model
    return Path(found) if found else None


def _classes(network: Section, boxes: Section, names: tuple[str, ...]) -> tuple[ClassDrawing, ...]:
    """Return the entry of every class, or that of ``default`` where it has none."""
    field = "classwise_bbox_handler_config"
    boxes.check_keys(field, names)
    entries = boxes.entries(field)
    found = []
    for index, name in enumerate(names):
        entry = entries.get(name, entries.get("default"))
        if entry is None:
            raise boxes.error(field, f"has no entry for class {name!r}, nor for 'default'")
        if len(name.split()) != 1 and not entry.message.output_map:
            reason = (
                f"has {name!r}, which no KITTI label can hold: give it an output_map of one word"
            )
            raise network.error("target_classes", reason, index)
        found.append(_drawing(entry, name))
    return tuple(found)


def _drawing(entry: Section, name: str) -> ClassDrawing:
    # What a cluster's coverage adds up to; the other kind of TLT needs a network of its own.
    entry.only("confidence_model", "aggregate_cov")
    # Older specs have the threshold beside the clustering, newer ones within it.
    defaults = ClusteringParameters()
    outer = entry.given({"confidence_threshold": _CONFIDENCE}).get("confidence_threshold")
    if outer is not None:
        defaults = replace(
            defaults,
            dbscan_confidence_threshold=outer,
            nms_confidence_threshold=min(outer, 1.0),
        )
    label = entry.message.output_map or name
    if entry.message.output_map and len(label.split()) != 1:
        raise entry.error("output_map", f"is {label!r}; a KITTI label's class is one word")
    color = entry.section("bbox_color")
    color.given(dict.fromkeys("RGB", _CHANNEL))
    return ClassDrawing(
        clustering(entry.section("clustering_config"), defaults),
        label,
        (color.message.R, color.message.G, color.message.B),
    )
