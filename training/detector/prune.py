"""``prune``: make a network smaller by the filters that weigh least, or whose effect is least.

The rule is that of TLT's ``prune`` (``core/pruning`` of tao_tensorflow1_backend): a filter's L2
norm over the largest of its layer must be above a threshold. Layers whose outputs are added keep
the same filters: all that give a stage's output, which are the second convolutions of its blocks
and the projection of the first.

Not TLT's is to judge a filter by its effect on what follows it. The norm of its weights says little
where a batch norm follows, which undoes any factor. So a filter counts by the root mean square of
what it gives, which its batch norm tells (a mean of ``bias``, a deviation of ``weight``, taken as
normally distributed), behind the rectifier, times the norm of the weights that read it, with their
own batch norms folded in.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facekit.cli import score, whole_number
from facekit.errors import ConfigError
from training.detector.files import add_model, read_network
from training.detector.network import BasicBlock, DetectNet, Layout
from training.detector.saved import save_network

Equalization = Literal["union", "intersection", "arithmetic_mean", "geometric_mean"]
EQUALIZATIONS: tuple[Equalization, ...] = get_args(Equalization)
Criterion = Literal["norm", "effect"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
Norms = NDArray[np.float64]
Indices = NDArray[np.int64]
_SEARCH_STEPS = 40


@dataclass(frozen=True)
class PruneOptions:
    """Options that decide which filters stay.

    Attributes:
        threshold: Filters whose norm is at or below this share of their layer's largest go, 0..1.
        equalization: How the norms of layers that must keep the same filters become one: their
            largest (``union``: what one of them keeps, all keep), their least (``intersection``),
            or a mean.
        granularity: The number of filters left is a multiple of this, or all.
        least: Filters that a layer keeps at least.
        criterion: What stands for a filter: the L2 ``norm`` of its weights as in TLT, or its
            ``effect`` on what follows.
    """

    threshold: float
    equalization: Equalization = "union"
    granularity: int = 8
    least: int = 16
    criterion: Criterion = "norm"


class StageEffects(NamedTuple):
    """Importance of the filters of a stage's branches and within its blocks, float64."""

    outputs: tuple[Norms, ...]
    inners: tuple[Norms, ...]


class KeptStage(NamedTuple):
    """The filters that stay of a stage's output and within its blocks, int64 and rising."""

    outputs: Indices
    inners: tuple[Indices, ...]


@dataclass(frozen=True)
class Kept:
    """The filters that stay of the first convolution, int64 and rising, and of each stage."""

    stem: Indices
    stages: tuple[KeptStage, ...]

    def layout(self, whole: Layout) -> Layout:
        """Return the layout of what stays of a network of layout ``whole``."""
        stages = tuple(
            replace(stage, outputs=len(kept.outputs), inners=tuple(map(len, kept.inners)))
            for kept, stage in zip(self.stages, whole.stages, strict=True)
        )
        return Layout(len(self.stem), stages, whole.classes)


def filter_norms(conv: nn.Module) -> Norms:
    """Return the L2 norm of each of a convolution's filters, float64 (filters,)."""
    weight = conv.get_parameter("weight").detach().double()
    norms: Norms = weight.flatten(1).norm(dim=1).cpu().numpy()
    return norms


def normalized(norms: Norms) -> Norms:
    """Return numbers of 0 or more over the largest of them; all 0 where every one is."""
    largest = norms.max(initial=0.0)
    return norms / largest if largest > 0 else norms


def equalize(norms: Sequence[Norms], how: Equalization) -> Norms:
    """Return the norms by which layers that must keep the same filters are judged.

    >>> equalize([np.array([0.1, 1.0]), np.array([0.9, 1.0])], "intersection").tolist()
    [0.1, 1.0]
    """
    stacked = np.stack(norms)
    if how == "geometric_mean":
        return np.asarray(stacked.prod(axis=0) ** (1 / len(stacked)))
    method = {"union": "max", "intersection": "min", "arithmetic_mean": "mean"}[how]
    return np.asarray(getattr(stacked, method)(axis=0))


def kept_filters(norms: Norms, options: PruneOptions) -> Indices:
    """Return which filters stay, int64 and rising: those above the threshold, and the largest.

    >>> kept_filters(np.array([0.2, 1.0, 0.6, 0.1]), PruneOptions(0.5, granularity=1, least=1))
    array([1, 2])
    >>> kept_filters(np.array([0.2, 1.0, 0.6, 0.1]), PruneOptions(0.5, granularity=3, least=1))
    array([0, 1, 2])
    """
    count = max(int((norms > options.threshold).sum()), options.least)
    count = math.ceil(count / options.granularity) * options.granularity
    order = np.argsort(-norms, kind="stable")
    return np.sort(order[: min(count, len(norms))]).astype(np.int64)


def choose_filters(network: DetectNet, options: PruneOptions) -> Kept:
    """Return the filters of a network that stay."""
    stem, stages = (_norms if options.criterion == "norm" else filter_effects)(network)
    kept = []
    for stage in stages:
        outputs = equalize([normalized(branch) for branch in stage.outputs], options.equalization)
        inners = tuple(kept_filters(normalized(inner), options) for inner in stage.inners)
        kept.append(KeptStage(kept_filters(outputs, options), inners))
    return Kept(kept_filters(normalized(stem), options), tuple(kept))


def _norms(network: DetectNet) -> tuple[Norms, list[StageEffects]]:
    """Return the norms of a network's filters; a stage's projection is a branch of its own."""
    stages = []
    for stage in network.stages:
        blocks = [block for block in stage if isinstance(block, BasicBlock)]
        projection = blocks[0].shortcut
        assert isinstance(projection, nn.Sequential)
        outputs = [filter_norms(block.conv2) for block in blocks]
        outputs.append(filter_norms(projection[0]))
        inners = tuple(filter_norms(block.conv1) for block in blocks)
        stages.append(StageEffects(tuple(outputs), inners))
    return filter_norms(network.stem), stages


@dataclass(frozen=True)
class _Spread:
    """Mean and variance of each channel before its rectifier, as normally distributed."""

    mean: Norms
    variance: Norms

    def __add__(self, other: _Spread) -> _Spread:
        return _Spread(self.mean + other.mean, self.variance + other.variance)

    def rectified(self) -> _Spread:
        """Return mean and variance behind the rectifier."""
        deviation = np.sqrt(np.maximum(self.variance, 1e-18))
        z = self.mean / deviation
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
        mean = self.mean * below + deviation * density
        square = (self.mean**2 + self.variance) * below + self.mean * deviation * density
        return _Spread(mean, np.maximum(square - mean**2, 0.0))

    def strength(self) -> Norms:
        """Return the root mean square of each channel."""
        return np.asarray(np.sqrt(self.mean**2 + self.variance))


def filter_effects(network: DetectNet) -> tuple[Norms, list[StageEffects]]:
    """Return the effects of the first convolution's filters, and those of each stage's."""
    given = _spread(network.stem_norm).rectified()
    readers = [_readers_of_stage(network, number) for number in range(len(network.stages) + 1)]
    stem = given.strength() * readers[0]
    stages = []
    for number, stage in enumerate(network.stages):
        blocks = [block for block in stage if isinstance(block, BasicBlock)]
        outputs, inners = [], []
        for index, block in enumerate(blocks):
            inner = _spread(block.norm1).rectified()
            inners.append(inner.strength() * _reading(block.conv2, block.norm2))
            shortcut = block.shortcut
            passed = _spread(shortcut[1]) if isinstance(shortcut, nn.Sequential) else given
            given = (_spread(block.norm2) + passed).rectified()
            reading = readers[number + 1]
            if index + 1 < len(blocks):
                following = blocks[index + 1]
                reading = _reading(following.conv1, following.norm1)
            outputs.append(given.strength() * reading)
        stages.append(StageEffects(tuple(outputs), tuple(inners)))
    return stem, stages


def _readers_of_stage(network: DetectNet, number: int) -> Norms:
    """Return how much a stage's input channels are read; the heads stand behind the last."""
    if number < len(network.stages):
        first = network.stages[number][0]
        assert isinstance(first, BasicBlock) and isinstance(first.shortcut, nn.Sequential)
        return np.hypot(
            _reading(first.conv1, first.norm1), _reading(first.shortcut[0], first.shortcut[1])
        )
    heads = []
    for head in (network.bbox, network.coverage):
        weight = head.weight.detach().double().cpu()
        norms: Norms = weight.square().sum(dim=(0, 2, 3)).sqrt().numpy()
        # Boxes and coverage have units of their own, and count equally.
        heads.append(norms / max(float(norms.max()), 1e-18))
    return np.hypot(*heads)


def _spread(norm: nn.Module) -> _Spread:
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    return _Spread(
        bias.detach().double().cpu().numpy(), weight.detach().double().cpu().numpy() ** 2
    )


def _reading(conv: nn.Module, norm: nn.Module) -> Norms:
    """Return the norm of the weights with which a convolution reads each of its inputs."""
    factor = norm.get_parameter("weight").detach().double()
    factor = factor / (norm.get_buffer("running_var").double() + 1e-5).sqrt()
    weight = conv.get_parameter("weight").detach().double() * factor[:, None, None, None]
    found: Norms = weight.square().sum(dim=(0, 2, 3)).sqrt().cpu().numpy()
    return found


def count_parameters(layout: Layout) -> int:
    """Return the number of trained numbers of a network, without making its weights."""
    with torch.device("meta"):
        return DetectNet(layout).parameter_count()


def threshold_for(network: DetectNet, share: float, options: PruneOptions) -> float:
    """Return the least threshold that leaves at most a share (0..1) of the parameters.

    Raises ValueError if the fewest filters that may stay have more parameters than that.
    """
    whole = network.parameter_count()

    def left(threshold: float) -> float:
        changed = replace(options, threshold=threshold)
        return count_parameters(choose_filters(network, changed).layout(network.layout)) / whole

    low, high = 0.0, 1.0
    if left(high) > share:
        raise ValueError(
            f"with {options.least} filters a layer at least, {left(high):.1%} of the parameters "
            f"stay; {share:.1%} can't be reached"
        )
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if left(middle) <= share else (middle, high)
    return high


def cut(network: DetectNet, kept: Kept) -> DetectNet:
    """Return the network of the filters that stay, on the CPU.

    Its outputs are those of the whole network with the other filters' outputs set to 0.
    """
    whole, state = network.state_dict(), {}

    def keep(conv: str, norm: str, outputs: Indices, inputs: Indices) -> None:
        state[f"{conv}.weight"] = whole[f"{conv}.weight"][outputs][:, inputs]
        for name, value in whole.items():
            if name.startswith(f"{norm}."):
                state[name] = value[outputs] if value.dim() else value

    keep("stem", "stem_norm", kept.stem, np.arange(3))
    inputs = kept.stem
    for number, stage in enumerate(kept.stages, 1):
        for index, inner in enumerate(stage.inners):
            block = f"stage{number}.{index}"
            keep(f"{block}.conv1", f"{block}.norm1", inner, inputs)
            keep(f"{block}.conv2", f"{block}.norm2", stage.outputs, inner)
            if index == 0:
                keep(f"{block}.shortcut.0", f"{block}.shortcut.1", stage.outputs, inputs)
            inputs = stage.outputs
    for head in ("bbox", "coverage"):
        state[f"{head}.weight"] = whole[f"{head}.weight"][:, inputs]
        state[f"{head}.bias"] = whole[f"{head}.bias"]
    small = DetectNet(kept.layout(network.layout))
    small.load_state_dict(state)
    small.eval()
    return small


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    add_model(parser)
    text = "the pruned network, a checkpoint"
    parser.add_argument("-o", "--output_file", type=Path, required=True, help=text)
    amount, count = parser.add_mutually_exclusive_group(), whole_number(1)
    text = "filters whose norm is at most this share of their layer's largest go (default: 0.1)"
    amount.add_argument("-pth", "--pruning_threshold", type=score, default=0.1, help=text)
    text = "find the least threshold that leaves at most this share of the parameters"
    amount.add_argument("--parameters", metavar="SHARE", type=score, help=text)
    eq_help = "how layers that are added agree on their filters (default: union)"
    parser.add_argument(
        "-eq", "--equalization_criterion", choices=EQUALIZATIONS, default="union", help=eq_help
    )
    text = "filters left are a multiple of this (default: 8)"
    parser.add_argument("-pg", "--pruning_granularity", type=count, default=8, help=text)
    text = "filters left in a layer at least (default: 16)"
    parser.add_argument("-nf", "--min_num_filters", type=count, default=16, help=text)
    criterion_help = (
        "judge filters by the norm of their weights as TLT does (the default), or by their "
        "effect on what follows, which loses less before the network is trained again"
    )
    parser.add_argument("--criterion", choices=CRITERIA, default="norm", help=criterion_help)


def run(options: argparse.Namespace) -> int:
    """Write the network without the filters that weigh least; say what is left of each layer.

    The checkpoint is one that ``train`` takes as ``pretrained_model_file`` with
    ``load_graph: true``. Raises ConfigError if so few parameters can't be reached, and DataError if
    the network can't be read, or the smaller one not be written.
    """
    chosen = PruneOptions(
        options.pruning_threshold,
        options.equalization_criterion,
        options.pruning_granularity,
        options.min_num_filters,
        options.criterion,
    )
    network = read_network(options.model)
    whole = network.build()
    if options.parameters is not None:
        try:
            threshold = threshold_for(whole, options.parameters, chosen)
        except ValueError as error:
            raise ConfigError(f"{options.model}: {error}") from error
        chosen = replace(chosen, threshold=threshold)
    small = cut(whole, choose_filters(whole, chosen))
    # What the run knew of the optimizer does not fit the smaller network, and is left out.
    pruned = replace(network, layout=small.layout, weights=small.state_dict())
    save_network(options.output_file, pruned)
    left, all_of = small.parameter_count(), whole.parameter_count()
    sys.stdout.write(
        f"{table(whole.layout, small.layout)}\n"
        f"{left} of {all_of} parameters are left, {left / all_of:.1%}, "
        f"at threshold {chosen.threshold:.4g} ({chosen.criterion}, {chosen.equalization})\n"
        f"{options.output_file}\n"
    )
    return 0


def table(whole: Layout, small: Layout) -> str:
    """Return how many filters of each layer are left, a line each."""
    rows = [("stem", small.stem, whole.stem)]
    for number, (stage, old) in enumerate(zip(small.stages, whole.stages, strict=True), 1):
        for block, (inner, before) in enumerate(zip(stage.inners, old.inners, strict=True)):
            rows.append((f"stage{number}.{block} inner", inner, before))
        rows.append((f"stage{number} output", stage.outputs, old.outputs))
    return "\n".join(f"{name:16s} {left:4d} of {before:4d}" for name, left, before in rows)
