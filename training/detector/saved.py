"""A trained network as it lies on disk, by itself or in the checkpoint of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.errors import DataError
from training.checkpoints import load_checkpoint, save_checkpoint
from training.detector.network import DetectNet, Layout

KIND = "detectnet_v2"
State = dict[str, Tensor]


@dataclass(frozen=True)
class SavedNetwork:
    """A trained network: all that is needed to build, measure and export it.

    Attributes:
        classes: Names of its classes, in the order of its channels.
        size_wh: Width and height of the frame it was trained for.
        weights: Its state: the averaged weights where the run kept an average.
        folded: The batch norms' statistics are unknown: the weights come from a file in which
            they were folded into the convolutions.
        epoch: Epochs it was trained for, in ``step`` steps of a run with ``seed``.
    """

    layout: Layout
    classes: tuple[str, ...]
    size_wh: tuple[int, int]
    weights: State
    folded: bool = False
    epoch: int = 0
    step: int = 0
    seed: int = 0

    def build(self) -> DetectNet:
        """Return the network in evaluation mode, on the CPU."""
        model = DetectNet(self.layout)
        model.load_state_dict(self.weights)
        model.eval()
        return model

    def header(self) -> dict[str, Any]:
        """Return all but the weights and how far it was trained, as a checkpoint has it."""
        return {
            "kind": KIND,
            "layout": self.layout.to_dict(),
            "classes": list(self.classes),
            "width": self.size_wh[0],
            "height": self.size_wh[1],
            "folded": self.folded,
        }


def save_network(path: Path, network: SavedNetwork) -> None:
    """Write a network by itself, without what resuming its run would need.

    Raises DataError if the file can't be written.
    """
    weights = {"model": network.weights, "average": None}
    count = {"epoch": network.epoch, "step": network.step, "seed": network.seed}
    save_checkpoint(path, network.header() | weights | count)


def check_kind(path: Path, state: Mapping[str, Any]) -> None:
    """Raise DataError unless a checkpoint is one of the detector."""
    if state.get("kind") != KIND:
        raise DataError(path, f"is not a checkpoint of the detector ({KIND})")


def read_saved_network(path: Path) -> SavedNetwork:
    """Read the network of a checkpoint.

    Raises DataError if the file is missing, damaged, of another kind, or does not fit together.
    """
    state = load_checkpoint(path)
    check_kind(path, state)
    try:
        network = SavedNetwork(
            Layout.from_dict(state["layout"]),
            tuple(state["classes"]),
            (int(state["width"]), int(state["height"])),
            dict(state["average"] or state["model"]),
            bool(state.get("folded", False)),
            int(state.get("epoch", 0)),
            int(state.get("step", 0)),
            int(state.get("seed", 0)),
        )
        check_fit(path, network.layout, network.weights)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(path, f"is incomplete: {error!r}") from error
    return network


def check_fit(path: Path, layout: Layout, weights: Mapping[str, Tensor]) -> None:
    """Raise DataError if a weight of a layout is missing, unknown, or of another shape."""
    with torch.device("meta"):
        wanted = {n: tuple(value.shape) for n, value in DetectNet(layout).state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        has, needs = given.get(name, "missing"), wanted.get(name, "nothing")
        if has != needs:
            reason = f"weights and layout differ: {name} is {has}, expected {needs}"
            raise DataError(path, reason)
