"""The tensors of a stanza of ``models.yaml``, held to ``facekit.contract`` for the kit's models.

An engine with other tensors would load, and break every ensemble that it is a step of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from conversion.catalog import Model
from conversion.yaml_nodes import Entry, listed
from facekit.contract import MAX_BATCH_SIZE, MODELS, ModelSpec
from facekit.engines.manifest import Batch
from facekit.landmarks.scheme import POINT_COUNTS

SHAPE_KEYS = ("input", "input_dims", "batch", "outputs")
"""What all weights of a model share."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What all weights of a model share; an empty field is one that was wrong."""

    input: str = ""
    input_dims: tuple[int, ...] = ()
    batch: Batch | None = None
    outputs: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


def read_shape(name: str, fields: Mapping[str, Entry], known: Model | None) -> Shape:
    """Return what all weights of a model share: as an earlier file says, and this one over it."""
    shape = Shape()
    if known:
        # Weights may have outputs of their own; the kit's first are the model's.
        shape = Shape(known.input, known.input_dims, known.batch, _outputs_of(known))
    spec = MODELS.get(name)
    if "input" in fields:
        shape = dataclasses.replace(shape, input=fields["input"].text("the input's name"))
        if shape.input and spec and shape.input != spec.inputs[0].name:
            fields["input"].expected(f"{spec.inputs[0].name!r}, which the ensembles feed")
    if "input_dims" in fields:
        shape = dataclasses.replace(shape, input_dims=fields["input_dims"].dims())
        if shape.input_dims and spec and shape.input_dims != spec.inputs[0].dims:
            fields["input_dims"].add(
                f"expected {list(spec.inputs[0].dims)}, got {list(shape.input_dims)}"
            )
    if "batch" in fields:
        shape = dataclasses.replace(shape, batch=_batch(fields["batch"]))
    if "outputs" in fields:
        shape = dataclasses.replace(shape, outputs=read_outputs(name, fields["outputs"]))
    return shape


def _outputs_of(model: Model) -> Mapping[str, tuple[int, ...]]:
    return next(iter(model.weights.values())).outputs


def _batch(entry: Entry) -> Batch:
    fields = entry.fields(("minimum", "optimum", "maximum"))
    sizes = {name: field.whole(1) for name, field in fields.items()}
    if len(sizes) < 3:
        return Batch(1, 1, MAX_BATCH_SIZE)
    batch = Batch(**sizes)
    if batch.minimum != 1:
        fields["minimum"].expected("1: an engine that takes no less refuses single photos")
    if batch.maximum != MAX_BATCH_SIZE:
        fields["maximum"].expected(f"{MAX_BATCH_SIZE}, the max_batch_size of every config.pbtxt")
    if not batch.minimum <= batch.optimum <= batch.maximum:
        fields["optimum"].expected("a number between minimum and maximum")
    return batch


def read_outputs(model: str, entry: Entry) -> dict[str, tuple[int, ...]]:
    """Return a model's outputs with their dims."""
    entries = entry.entries()
    if not entries:
        entry.expected("at least one output with its dims")
    outputs = {name: value.dims() for name, value in entries.items()}
    _check_outputs(entry, MODELS.get(model), outputs)
    return outputs


def _check_outputs(
    entry: Entry, spec: ModelSpec | None, outputs: Mapping[str, tuple[int, ...]]
) -> None:
    """Hold a model's outputs to the contract; ``-1`` there is the number of points."""
    if spec is None or not all(outputs.values()):
        return
    wanted = {tensor.name: tensor.dims for tensor in spec.outputs}
    if set(outputs) != set(wanted):
        entry.add(f"expected the outputs {listed(list(wanted))}, got {listed(list(outputs))}")
        return
    free = set()
    for name, dims in outputs.items():
        same = len(dims) == len(wanted[name]) and all(
            want in (-1, have) for want, have in zip(wanted[name], dims, strict=True)
        )
        if not same:
            shown = str(list(wanted[name])).replace("-1", "points")
            entry.add(f"{name}: expected {shown}, got {list(dims)}")
            return
        free |= {have for want, have in zip(wanted[name], dims, strict=True) if want == -1}
    if len(free) > 1 or not free <= set(POINT_COUNTS):
        points = " or ".join(map(str, POINT_COUNTS))
        entry.add(f"expected the same number of points in each, {points}, got {sorted(free)}")
