"""The network in an ONNX file of this kit, to go on training from."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from facekit.errors import DataError
from training.detector.inference import CLASSES_KEY
from training.detector.network import Layout, StageLayout
from training.detector.saved import SavedNetwork, State, check_fit

NORM_EPSILON = 1e-5
"""PyTorch's epsilon of a batch norm."""


class _Convolution:
    """A convolution of the graph: its weights and what it is for."""

    def __init__(self, node: Any, weights: dict[str, NDArray[np.float32]]) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.weight = weights[node.input[1]]
        self.bias = weights[node.input[2]] if len(node.input) > 2 else None
        self.output = str(node.output[0])
        self.stride = int(attributes.get("strides", [1])[0])
        self.dilation = int(attributes.get("dilations", [1])[0])
        self.size = int(self.weight.shape[-1])


def read_onnx_network(path: Path) -> SavedNetwork:
    """Read the layout and weights of a network that ``export`` wrote.

    The batch norms were folded into the convolutions, so theirs come back as weight 1 and the
    folded bias, and ``SavedNetwork.folded`` is set. Raises DataError if the file is missing,
    damaged, quantized, or not a DetectNet_v2 of this kit.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise DataError(path, "no such file") from None
    except Exception as error:  # protobuf and the checker raise many kinds for a damaged file
        raise DataError(path, f"is not a usable ONNX file: {error}") from error
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    try:
        found = [_Convolution(n, weights) for n in model.graph.node if n.op_type == "Conv"]
        squashed = {n.input[0] for n in model.graph.node if n.op_type == "Sigmoid"}
        layout, state = _assemble(found, squashed)
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(path, "is not a DetectNet_v2 of this kit in float32") from error
    check_fit(path, layout, state)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    classes = tuple(name for name in notes.get(CLASSES_KEY, "").split(",") if name)
    if len(classes) != layout.classes:
        classes = tuple(f"class {k}" for k in range(layout.classes))
    shape = model.graph.input[0].type.tensor_type.shape.dim
    size_wh = (int(shape[3].dim_value), int(shape[2].dim_value))
    return SavedNetwork(layout, classes, size_wh, state, folded=True)


def _assemble(found: list[_Convolution], squashed: set[str]) -> tuple[Layout, State]:
    """Name the convolutions, which the file holds in the order they are computed in."""
    stem, *body, first, second = found
    state: State = {}
    for head in (first, second):
        name = "coverage" if head.output in squashed else "bbox"
        if head.bias is None or f"{name}.weight" in state:
            raise ValueError(name)
        state[f"{name}.weight"] = torch.from_numpy(head.weight.copy())
        state[f"{name}.bias"] = torch.from_numpy(head.bias.copy())
    _put(state, "stem", "stem_norm", stem)
    stages: list[list[tuple[_Convolution, _Convolution]]] = []
    strides = []
    at = 0
    while at < len(body):
        conv1, conv2 = body[at : at + 2]
        at += 2
        if at < len(body) and body[at].size == 1:
            # Only a stage's first block has a projection.
            stages.append([])
            strides.append(conv1.stride)
            prefix = f"stage{len(stages)}.0.shortcut"
            _put(state, f"{prefix}.0", f"{prefix}.1", body[at])
            at += 1
        prefix = f"stage{len(stages)}.{len(stages[-1])}"
        stages[-1].append((conv1, conv2))
        for number, conv in ((1, conv1), (2, conv2)):
            if conv.size != 3:
                raise ValueError(conv.output)
            _put(state, f"{prefix}.conv{number}", f"{prefix}.norm{number}", conv)
    layout = Layout(
        len(stem.weight),
        tuple(
            StageLayout(
                len(blocks[0][1].weight),
                tuple(len(conv1.weight) for conv1, _ in blocks),
                stride,
                tuple(conv.dilation for block in blocks for conv in block),
            )
            for blocks, stride in zip(stages, strides, strict=True)
        ),
        len(state["coverage.bias"]),
    )
    return layout, state


def _put(state: State, conv: str, norm: str, found: _Convolution) -> None:
    """Add a convolution and the norm that was folded into it."""
    if found.bias is None:
        raise ValueError(conv)
    count = len(found.weight)
    state[f"{conv}.weight"] = torch.from_numpy(found.weight.copy())
    state[f"{norm}.weight"] = torch.ones(count)
    state[f"{norm}.bias"] = torch.from_numpy(found.bias.copy())
    state[f"{norm}.running_mean"] = torch.zeros(count)
    # So that the norm, which adds its epsilon, divides by exactly 1.
    state[f"{norm}.running_var"] = torch.full((count,), 1.0 - NORM_EPSILON)
    state[f"{norm}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
