"""``prune``: make a network smaller by the filters that weigh least."""

import argparse
import dataclasses
import sys
from pathlib import Path

from facekit.cli import score, whole_number
from facekit.errors import ConfigError
from training.detector.files import add_model, read_network
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
    parser.add_argument(
        "-eq",
        "--equalization_criterion",
        choices=EQUALIZATIONS,
        default="union",
        help="how layers that are added agree on their filters (default: union)",
    )
    text = "filters left are a multiple of this (default: 8)"
    parser.add_argument("-pg", "--pruning_granularity", type=count, default=8, help=text)
    text = "filters left in a layer at least (default: 16)"
    parser.add_argument("-nf", "--min_num_filters", type=count, default=16, help=text)
    parser.add_argument(
        "--criterion",
        choices=CRITERIA,
        default="norm",
        help="judge filters by the norm of their weights as TLT does (the default), or by their "
        "effect on what follows, which loses less before the network is trained again",
    )


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
        chosen = dataclasses.replace(chosen, threshold=threshold)
    small = cut(whole, choose_filters(whole, chosen))
    # What the run knew of the optimizer does not fit the smaller network, and is left out.
    pruned = dataclasses.replace(network, layout=small.layout, weights=small.state_dict())
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
