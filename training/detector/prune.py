"""``prune``: make a network smaller by the filters that weigh least."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from facekit.cli import score, whole_number
from facekit.errors import ConfigError
from training.arguments import add_key, add_model, warn_unused_key
from training.detector.files import read_network
from training.detector.network import Layout
from training.detector.pruning import (
    CRITERIA,
    EQUALIZATIONS,
    PruneOptions,
    choose_filters,
    cut,
    threshold_for,
)
from training.detector.saved import save_network

LOGGER = logging.getLogger("training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    add_model(parser)
    parser.add_argument(
        "-o", "--output_file", type=Path, required=True, help="the pruned network, a checkpoint"
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "-pth",
        "--pruning_threshold",
        type=score,
        default=0.1,
        help="filters whose norm is at most this share of their layer's largest go (default: 0.1)",
    )
    amount.add_argument(
        "--parameters",
        metavar="SHARE",
        type=score,
        help="find the least threshold that leaves at most this share of the parameters",
    )
    parser.add_argument(
        "-eq",
        "--equalization_criterion",
        choices=EQUALIZATIONS,
        default="union",
        help="how layers that are added agree on their filters (default: union)",
    )
    parser.add_argument(
        "-pg",
        "--pruning_granularity",
        type=whole_number(1),
        default=8,
        help="filters left are a multiple of this (default: 8)",
    )
    parser.add_argument(
        "-nf",
        "--min_num_filters",
        type=whole_number(1),
        default=16,
        help="filters left in a layer at least (default: 16)",
    )
    parser.add_argument(
        "--criterion",
        choices=CRITERIA,
        default="norm",
        help="judge filters by the norm of their weights as TLT does (the default), or by their "
        "effect on what follows, which loses less before the network is trained again",
    )
    add_key(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: So few parameters can't be reached.
        DataError: The network can't be read, or the smaller one not be written.
    """
    warn_unused_key(options)
    chosen = PruneOptions(
        options.pruning_threshold,
        options.equalization_criterion,
        options.pruning_granularity,
        options.min_num_filters,
        options.criterion,
    )
    prune(options.model, options.output_file, chosen, options.parameters)
    return 0


def prune(path: Path, out: Path, options: PruneOptions, parameters: float | None = None) -> float:
    """Write a network without the filters that weigh least, and say what is left of each layer.

    Args:
        path: The network: a checkpoint, or an ONNX file of this kit.
        out: The checkpoint to write, which ``train`` takes as ``pretrained_model_file`` with
            ``load_graph: true``.
        options: What decides which filters stay.
        parameters: Find the least threshold that leaves at most this share of the parameters.

    Returns:
        Share of the parameters that is left.

    Raises:
        ConfigError: So few parameters can't be reached.
        DataError: The network can't be read, or the smaller one not be written.
    """
    network = read_network(path)
    whole = network.build()
    if parameters is not None:
        try:
            threshold = threshold_for(whole, parameters, options)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
        options = dataclasses.replace(options, threshold=threshold)
    small = cut(whole, choose_filters(whole, options))
    # What the run knew of the optimizer does not fit the smaller network, and is left out.
    save_network(
        out,
        dataclasses.replace(network, layout=small.layout, weights=small.state_dict()),
    )
    left = small.parameter_count() / whole.parameter_count()
    sys.stdout.write(
        f"{table(whole.layout, small.layout)}\n"
        f"{small.parameter_count()} of {whole.parameter_count()} parameters are left, {left:.1%}, "
        f"at threshold {options.threshold:.4g} ({options.criterion}, {options.equalization})\n"
        f"{out}\n"
    )
    return left


def table(whole: Layout, small: Layout) -> str:
    """Return how many filters of each layer are left, a line each."""
    rows = [("stem", small.stem, whole.stem)]
    for number, (stage, old) in enumerate(zip(small.stages, whole.stages, strict=True), 1):
        for block, (inner, before) in enumerate(zip(stage.inners, old.inners, strict=True)):
            rows.append((f"stage{number}.{block} inner", inner, before))
        rows.append((f"stage{number} output", stage.outputs, old.outputs))
    return "\n".join(f"{name:16s} {left:4d} of {before:4d}" for name, left, before in rows)
