"""The network a run begins with."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.detector.checkpoint import read_network
from training.detector.network import (
    RESNET_BLOCKS,
    RESNET_CHANNELS,
    DetectNet,
    Layout,
    resnet_layout,
)
from training.detector.pretrained import load_pretrained, unfold_norms
from training.experiment.settings import Model
from training.runs import place

LOGGER = logging.getLogger("training")


def make_layout(model: Model, classes: int) -> Layout:
    """Return the layout a spec asks for, where it does not take that of a pruned network."""
    channels = tuple(max(1, round(model.width_share * full)) for full in RESNET_CHANNELS)
    dilations = None
    if model.dilate:
        count = 2 * RESNET_BLOCKS[model.layers][-1]
        dilations = ((2, 2, 4, 2) + (2,) * count)[:count]
    return resnet_layout(model.layers, classes, channels, dilations)


def begin(
    model: Model, classes: tuple[str, ...], device: torch.device, images: Iterable[Tensor]
) -> DetectNet:
    """Return the network to train: as initialized, or from a pretrained one.

    Args:
        model: The spec's.
        classes: Names of the classes.
        device: Where to train.
        images: Batches of frames, float [n, 3, h, w] in 0..1 on the device, on which the
            statistics of folded batch norms are measured where the pretrained network has such.

    Raises:
        DataError: The pretrained network can't be used.
    """
    network = read_network(model.pretrained) if model.pretrained else None
    if network is not None and model.load_graph:
        layout = dataclasses.replace(network.layout, classes=len(classes))
    else:
        layout = make_layout(model, len(classes))
    made = place(DetectNet(layout), device)
    if network is not None:
        missing = load_pretrained(made, network, classes)
        total = len(made.state_dict())
        LOGGER.info("%d of %d weights begin with %s", total - len(missing), total, model.pretrained)
        if network.folded:
            unfold_norms(made, images)
    return made


def freeze(model: DetectNet, settings: Model) -> list[nn.Module]:
    """Set aside what the spec does not want trained.

    As in TAO, ``freeze_bn`` keeps the statistics of every batch norm as they are, while their
    weights and biases are trained (``training=False`` of its ResNet's layers).

    Returns:
        The batch norms that stay in evaluation mode: all of them with ``freeze_bn``, else those
        of the frozen blocks.
    """
    parts: list[nn.Module] = []
    for block in settings.freeze_blocks:
        parts += [model.stem, model.stem_norm] if block == 0 else [model.stages[block - 1]]
    searched = [model] if settings.freeze_bn else parts
    norms: list[nn.Module] = [
        inner for part in searched for inner in part.modules() if isinstance(inner, nn.BatchNorm2d)
    ]
    for part in parts:
        part.requires_grad_(False)
    return norms
