"""How much each filter matters to what follows it, from the weights alone.

The norm of a filter's weights says little where a batch norm follows, which undoes any factor: a
filter as initialized may weigh more than one that has learned something. So here a filter counts by
the root mean square of what it gives, which its batch norm tells (a mean of ``bias``, a deviation
of ``weight``, taken as normally distributed), behind the rectifier, times the norm of the weights
that read it, with their own batch norms folded in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from training.detector.network import BasicBlock, DetectNet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StageEffects:
    """The effects of a stage's filters, float64.

    Attributes:
        outputs: (filters,) a block: of the channels that the block gives.
        inners: (filters,) a block: of the convolution within it.
    """

    outputs: tuple[Array, ...]
    inners: tuple[Array, ...]


@dataclass(frozen=True)
class _Spread:
    """Mean and variance of each channel before its rectifier, as normally distributed."""

    mean: Array
    variance: Array

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

    def strength(self) -> Array:
        """Return the root mean square of each channel."""
        return np.asarray(np.sqrt(self.mean**2 + self.variance))


def filter_effects(network: DetectNet) -> tuple[Array, list[StageEffects]]:
    """Return the effects of a network's filters.

    Returns:
        Those of the first convolution, float64 (filters,), and those of each stage.
    """
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


def _readers_of_stage(network: DetectNet, number: int) -> Array:
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
        norms: Array = weight.square().sum(dim=(0, 2, 3)).sqrt().numpy()
        # Boxes and coverage have units of their own, and an equal say.
        heads.append(norms / max(float(norms.max()), 1e-18))
    return np.hypot(*heads)


def _spread(norm: nn.Module) -> _Spread:
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    return _Spread(
        bias.detach().double().cpu().numpy(), weight.detach().double().cpu().numpy() ** 2
    )


def _reading(conv: nn.Module, norm: nn.Module) -> Array:
    """Return the norm of the weights with which a convolution reads each of its inputs."""
    factor = norm.get_parameter("weight").detach().double()
    factor = factor / (norm.get_buffer("running_var").double() + 1e-5).sqrt()
    weight = conv.get_parameter("weight").detach().double() * factor[:, None, None, None]
    found: Array = weight.square().sum(dim=(0, 2, 3)).sqrt().cpu().numpy()
    return found
