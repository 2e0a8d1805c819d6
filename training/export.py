"""Writing a trained network as an ONNX file for the model repository."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from facekit.errors import DataError, writing
from facekit.files import write_whole
from training.checkpoints import load_checkpoint
from training.repository import check_served

OPSET = 17
IR_VERSION = 8
PRODUCER = "facekit"
TOLERANCE = 1e-4


def write_onnx(
    model: nn.Module,
    example: Tensor,
    path: Path,
    input_name: str,
    output_names: Sequence[str],
    description: str,
    notes: Mapping[str, str],
) -> float:
    """Export a network with a free batch size, batch norm folded, and check the file.

    Args:
        model: The network; it is put into evaluation mode.
        example: An input of a batch of at least two.
        path: The file to write; replaced only once the new one has passed the checks.
        input_name: Name of the input.
        output_names: Names of the outputs, in the order the network returns them.
        description: One line on what the network is.
        notes: Entries of the file's metadata.

    Returns:
        The largest difference between the file's outputs and the network's, see ``compare``.

    Raises:
        ValueError: The file's outputs differ by more than 1e-4.
        DataError: The file can't be written, or lies in a model repository and does not fit there
            (see ``check_served``).
    """
    model.eval()
    with torch.no_grad():
        outputs = [tuple(value.shape[1:]) for value in model(example)]
    check_served(
        path, {input_name: example.shape[1:]}, dict(zip(output_names, outputs, strict=True))
    )
    exported = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            exported,
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_axes={name: {0: "batch"} for name in (input_name, *output_names)},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(exported.getvalue())
    graph.ir_version = IR_VERSION
    graph.producer_name = PRODUCER
    graph.producer_version = ""
    graph.doc_string = description
    del graph.metadata_props[:]
    for key, value in notes.items():
        graph.metadata_props.add(key=key, value=value)
    _name_shapes(graph, model, example)
    onnx.checker.check_model(graph, full_check=True)
    content = graph.SerializeToString()
    worst = compare(model, content, example)
    with writing(path):
        write_whole(path, content)
    return worst


def export_average(
    checkpoint: Path,
    path: Path,
    build: Callable[[Mapping[str, Any]], nn.Module],
    example_shape: Sequence[int],
    example_scale: float,
    input_name: str,
    output_names: Sequence[str],
    description: str,
) -> float:
    """Write the averaged weights of a run of ``training.steps`` as an ONNX file.

    Args:
        checkpoint: The run's checkpoint.
        path: The file to write; see ``write_onnx`` for this and what is not said here.
        build: Makes the network for a checkpoint; its weights are then loaded.
        example_shape: Shape of the input that file and network are compared on; a batch of two.
        example_scale: Largest value of that input; the least is 0.
        input_name: Name of the input.
        output_names: Names of the outputs.
        description: One line on what the network is.

    Returns:
        The largest difference between the file's outputs and the network's.

    Raises:
        DataError: The checkpoint can't be read, or is of another network; or the file can't be
            written.
    """
    state = load_checkpoint(checkpoint)
    if "kind" in state:
        reason = "is of another trainer: export it by python -m training.detector export -m"
        raise DataError(checkpoint, reason)
    try:
        model = build(state)
        model.load_state_dict(state["average"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(checkpoint, "is of another network") from error
    noise = torch.rand(*example_shape, generator=torch.Generator().manual_seed(0))
    notes = {"steps": str(state["step"]), "seed": str(state["seed"])}
    return write_onnx(
        model, noise * example_scale, path, input_name, output_names, description, notes
    )


def _name_shapes(graph: onnx.ModelProto, model: nn.Module, example: Tensor) -> None:
    """Declare the outputs' shapes: the batch free, everything else fixed."""
    with torch.no_grad():
        outputs = model(example)
    for declared, value in zip(graph.graph.output, outputs, strict=True):
        shape = declared.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add(dim_param="batch")
        for size in value.shape[1:]:
            shape.dim.add(dim_value=int(size))


def compare(model: nn.Module, file: bytes, example: Tensor) -> float:
    """Return the largest difference between a file and its network, over all outputs.

    Differences are shares of an output's largest value where that is above 1.

    Raises:
        ValueError: A difference is more than 1e-4.
    """
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    served = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    with torch.no_grad():
        expected = model(example)
    worst = 0.0
    for output, got, want in zip(session.get_outputs(), served, expected, strict=True):
        reference = want.numpy()
        scale = max(1.0, float(np.abs(reference).max()))
        difference = float(np.abs(np.asarray(got) - reference).max()) / scale
        if difference > TOLERANCE:
            raise ValueError(f"{output.name} of the file differs by {difference:.2e}")
        worst = max(worst, difference)
    return worst
