"""Writing a trained network as an ONNX file, which has to fit the model repository it lies in."""

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

from facekit.engines.configs import DEFAULT_FILE, read_config
from facekit.engines.manifest import HALF_SUFFIX
from facekit.errors import ConfigError, DataError, reading, writing
from facekit.files import write_whole
from training.checkpoints import load_checkpoint
from training.half import in_half

OPSET = 17
IR_VERSION = 8
PRODUCER = "facekit"
TOLERANCE = 1e-4
LABEL_FILE = "labels.txt"
Shapes = Mapping[str, Sequence[int]]
"""Shape of each tensor by its name, without the batch."""


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

    Beside it comes one in half precision (``training.half``), for a TensorRT that builds FP16 of
    nothing else.

    Args:
        model: The network; it is put into evaluation mode.
        example: An input of a batch of at least two.
        path: The file to write; replaced only once the new one has passed the checks.
        input_name: Name of the input.
        output_names: Names of the outputs, in the order the network returns them.
        description: One line on what the network is.
        notes: Entries of the file's metadata.

    Returns:
        The largest difference between the file's outputs and the network's, as shares of an
        output's largest value where that is above 1.

    Raises:
        ValueError: The file's outputs differ by more than 1e-4.
        DataError: The file can't be written, or lies in a model repository and does not fit there
            (see ``check_served``).
    """
    model.eval()
    with torch.no_grad():
        expected = model(example)
    shapes = {n: value.shape[1:] for n, value in zip(output_names, expected, strict=True)}
    check_served(path, {input_name: example.shape[1:]}, shapes)
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
    for declared in graph.graph.output:  # the batch is free, everything else fixed
        shape = declared.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add(dim_param="batch")
        for size in shapes[declared.name]:
            shape.dim.add(dim_value=int(size))
    onnx.checker.check_model(graph, full_check=True)
    content = graph.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for name, got, want in zip(
        output_names,
        session.run(output_names, {input_name: example.numpy()}),
        expected,
        strict=True,
    ):
        reference = want.numpy()
        scale = max(1.0, float(np.abs(reference).max()))
        difference = float(np.abs(np.asarray(got) - reference).max()) / scale
        if difference > TOLERANCE:
            raise ValueError(f"{name} of the file differs by {difference:.2e}")
        worst = max(worst, difference)
    half = in_half(content)
    onnxruntime.InferenceSession(half, providers=["CPUExecutionProvider"])
    with writing(path):
        write_whole(path, content)
        write_whole(path.with_suffix(HALF_SUFFIX), half)
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
    """Write the averaged weights of a run of ``training.steps`` as an ONNX file (``write_onnx``).

    ``build`` makes the network for a checkpoint; its weights are then loaded. File and network are
    compared on a batch of two, of ``example_shape`` and 0..``example_scale``. Raises DataError if
    the checkpoint can't be read, is of another network, or the file can't be written.
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


def model_folder(path: Path) -> Path | None:
    """Return the model that a file is a version of: ``<model>/<number>/<file>``; None for none."""
    version = path.absolute().parent.resolve()
    is_model = version.name.isdigit() and (version.parent / DEFAULT_FILE).is_file()
    return version.parent if is_model else None


def served_labels(path: Path) -> Path | None:
    """Return the file with the classes' names that a server has for a model's file, if any."""
    model = model_folder(path)
    labels = model and model.with_name(f"{model.name}_postprocess") / LABEL_FILE
    return labels if labels and labels.is_file() else None


def check_served(
    path: Path, inputs: Shapes, outputs: Shapes, classes: Sequence[str] | None = None
) -> None:
    """Check that a network fits the place its file is written to; any other place is free.

    ``classes`` are named in the order of the network's channels; None where it has none of its own.
    Raises DataError if the model's configuration and each of ``configs/`` has other tensors, if its
    postprocess model has other classes or another order, or if such a file can't be read.
    """
    model = model_folder(path)
    if model is None:
        return
    # A server can be started with any of them.
    files = [model / DEFAULT_FILE, *sorted((model / "configs").glob("*.pbtxt"))]
    misfits = [_misfit(file, inputs, outputs) for file in files]
    if misfits[0] and all(misfits):
        raise DataError(path, f"not written: {files[0]} {misfits[0]}")
    labels = served_labels(path)
    if classes is not None and labels is not None:
        with reading(labels):
            served = labels.read_text("utf-8").split("\n")
        names = [name.strip() for name in served if name.strip()]
        if names != list(classes):
            other = "another order" if sorted(names) == sorted(classes) else "other classes"
            reason = f"not written: {labels} has {other}: {', '.join(names)}; the network's are "
            raise DataError(path, reason + ", ".join(classes))


def _misfit(file: Path, inputs: Shapes, outputs: Shapes) -> str:
    """Return what a configuration has that the network has not, or the other way round."""
    try:
        config = read_config(file)
    except ConfigError as error:
        raise DataError(file, f"cannot be read: {error}") from error
    batched = config.max_batch_size > 0
    both = ("input", config.input, inputs), ("output", config.output, outputs)
    for kind, declared, given in both:
        wanted = {t.name: [int(side) for side in t.dims][0 if batched else 1 :] for t in declared}
        # A network may have outputs that a server leaves unused; an input has to be fed.
        names = dict.fromkeys([*wanted, *(given if kind == "input" else ())])
        for name in names:
            has, is_ = wanted.get(name), given.get(name)
            if has is None or is_ is None or not _same(has, is_):
                shown = ["none" if shape is None else str(list(shape)) for shape in (has, is_)]
                return f"has {kind} {name} {shown[0]}, the network {shown[1]}"
    return ""


def _same(declared: Sequence[int], given: Sequence[int]) -> bool:
    pairs = zip(declared, given, strict=False)
    return len(declared) == len(given) and all(side in (-1, size) for side, size in pairs)
