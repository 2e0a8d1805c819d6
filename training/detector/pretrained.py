"""``pretrained``: weights to begin with, and the network that a run begins with."""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.detector.files import read_network
from training.detector.network import RESNET_CHANNELS, DetectNet, Layout, resnet_layout
from training.detector.saved import SavedNetwork, save_network
from training.devices import place
from training.experiment.training import ModelConfig

LOGGER = logging.getLogger("training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    text = "an ONNX file or a checkpoint"
    parser.add_argument("--from", dest="source", type=Path, required=True, help=text)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .pt file to write")


def run(options: argparse.Namespace) -> int:
    """Run the command; a DataError says that the source is not a network of this kit."""
    network = read_network(options.source)
    save_network(options.output, network)
    count = network.build().parameter_count()
    names = ", ".join(network.classes)
    sys.stdout.write(f"{options.output}: {count:,} parameters, classes {names}\n")
    return 0


def load_pretrained(model: DetectNet, network: SavedNetwork, classes: tuple[str, ...]) -> list[str]:
    """Copy a pretrained network into a model of any width.

    The pretrained filters become the first channels of each layer. In a model at least as wide
    they do not look at the channels they did not know, and compute what they computed before; the
    other filters stay as initialized. A narrower model gets the first of the filters, without
    the inputs that it lacks, and computes something else. Every class begins with the head of the
    same name if the pretrained network has them all; else with the head in the same place if
    there are as many, else with the first. Returns the names of the model's weights that got
    nothing: there is no such layer, or its kernel is of another size.
    """
    source = dict(network.weights)
    known = network.classes
    if set(classes) <= set(known):
        chosen = [known.index(name) for name in classes]
    else:
        chosen = list(range(len(classes))) if len(known) == len(classes) else [0] * len(classes)
    for head, channels in (("bbox", 4), ("coverage", 1)):
        for kind in ("weight", "bias"):
            name = f"{head}.{kind}"
            each = source[name].unflatten(0, (-1, channels))
            source[name] = each[chosen].flatten(0, 1)
    untouched = []
    with torch.no_grad():
        for name, value in model.state_dict().items():
            given = source.get(name)
            if given is None:
                untouched.append(name)
            elif value.ndim == 4 and value.shape[2:] == given.shape[2:]:
                outputs = min(len(value), len(given))
                inputs = min(value.shape[1], given.shape[1])
                value[:outputs, inputs:] = 0.0
                value[:outputs, :inputs] = given[:outputs, :inputs]
            elif value.ndim == 1:
                count = min(len(value), len(given))
                value[:count] = given[:count]
            elif value.ndim == 0:
                value.copy_(given)
            else:
                untouched.append(name)
    return untouched


def unfold_norms(model: DetectNet, images: Iterable[Tensor]) -> None:
    """Give batch norms that were folded into their convolutions statistics to train with.

    A folded norm passes on what its convolution gives, plus a bias. In training it would scale
    that by the batch's mean and deviation, so here both are measured on frames and become the
    norm's own statistics, bias and weight: the network computes what it computed before, in
    evaluation exactly and in training nearly. It is left in the mode it was in; the frames are
    batches, float [n, 3, h, w] in 0..1.
    """
    training = model.training
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    sums: dict[int, list[Any]] = {id(norm): [0, 0.0, 0.0] for norm in norms}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().double()
        entry = sums[id(norm)]
        entry[0] += x.numel() // x.shape[1]
        entry[1] = entry[1] + x.sum(dim=(0, 2, 3))
        entry[2] = entry[2] + (x * x).sum(dim=(0, 2, 3))

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    with torch.no_grad():
        for batch in images:
            model(batch)
        for hook in hooks:
            hook.remove()
        for norm in norms:
            count, total, squares = sums[id(norm)]
            mean = total / count
            variance = (squares / count - mean**2).clamp(min=1e-6)
            before = norm.weight / (norm.running_var + norm.eps).sqrt()
            shift = norm.bias - norm.running_mean * before
            deviation = (variance + norm.eps).sqrt().float()
            norm.bias.copy_(shift + before * mean.float())
            norm.weight.copy_(before * deviation)
            norm.running_mean.copy_(mean.float())
            norm.running_var.copy_(variance.float())
    model.train(training)


def make_layout(config: ModelConfig, classes: int) -> Layout:
    """Return the layout a spec asks for, where it does not take that of a pruned network."""
    ours = config.facekit
    channels = tuple(max(1, round(ours.width_share * full)) for full in RESNET_CHANNELS)
    return resnet_layout(config.num_layers, classes, channels, ours.dilate)


def to_unit(image: Tensor) -> Tensor:
    """Return uint8 pictures as the network takes them: float in 0..1, channels last."""
    return image.float().div_(255.0).contiguous(memory_format=torch.channels_last)


def begin(
    config: ModelConfig, classes: tuple[str, ...], device: torch.device, images: Iterable[Tensor]
) -> DetectNet:
    """Return the network to train: as initialized, or from a pretrained one.

    Where that has folded batch norms, their statistics are measured on ``images``: batches, float
    [n, 3, h, w] in 0..1 on the device. Raises DataError if the pretrained network can't be used.
    """
    path = config.pretrained
    network = read_network(path) if path else None
    if network is not None and config.load_graph:
        layout = dataclasses.replace(network.layout, classes=len(classes))
    else:
        layout = make_layout(config, len(classes))
    made = place(DetectNet(layout), device)
    if network is not None:
        missing = load_pretrained(made, network, classes)
        total = len(made.state_dict())
        LOGGER.info("%d of %d weights begin with %s", total - len(missing), total, path)
        if network.folded:
            unfold_norms(made, images)
    return made


def freeze(model: DetectNet, config: ModelConfig) -> list[nn.Module]:
    """Set aside what the spec does not want trained.

    As in TAO, ``freeze_bn`` keeps the statistics of every batch norm as they are, while their
    weights and biases are trained (``training=False`` of its ResNet's layers). Returns the batch
    norms that stay in evaluation mode: all with ``freeze_bn``, else those of the frozen blocks.
    """
    parts: list[nn.Module] = []
    for block in sorted(set(map(int, config.freeze_blocks))):
        parts += [model.stem, model.stem_norm] if block == 0 else [model.stages[block - 1]]
    searched = [model] if config.freeze_bn else parts
    norms: list[nn.Module] = [
        inner for part in searched for inner in part.modules() if isinstance(inner, nn.BatchNorm2d)
    ]
    for part in parts:
        part.requires_grad_(False)
    return norms
