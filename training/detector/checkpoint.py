"""What a training run of the detector keeps on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from facekit.errors import DataError
from training.detector.network import DetectNet, Layout
from training.experiment.settings import Experiment
from training.runs import load_checkpoint, save_checkpoint

KIND = "detectnet_v2"
State = dict[str, Tensor]
FREE_TO_CHANGE = (
    "path",
    "lines",
    "clustering",
    "evaluation",
    "training.epochs",
    "training.checkpoint_interval",
)
"""What of an experiment may differ when a run goes on: it does not change a step taken."""


@dataclass(frozen=True)
class Network:
    """A trained network: all that is needed to build, measure and export it.

    Attributes:
        layout: Its graph.
        classes: Names of its classes, in the order of its channels.
        size_wh: Width and height of the frame it was trained for.
        weights: Its state: the averaged weights where the run kept an average.
        folded: The batch norms' statistics are unknown: the weights come from a file in which
            they were folded into the convolutions.
        epoch: Epochs it was trained for.
        step: Steps it was trained for.
        seed: Seed of the run.
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

    def to_dict(self) -> dict[str, Any]:
        """Return what ``read_network`` reads, for ``save_network``."""
        return {
            "kind": KIND,
            "layout": self.layout.to_dict(),
            "classes": list(self.classes),
            "width": self.size_wh[0],
            "height": self.size_wh[1],
            "model": self.weights,
            "average": None,
            "folded": self.folded,
            "epoch": self.epoch,
            "step": self.step,
            "seed": self.seed,
        }


def save_network(path: Path, network: Network) -> None:
    """Write a network by itself, without what resuming its run would need."""
    save_checkpoint(path, network.to_dict())


def read_checkpoint(path: Path, resuming: bool = False) -> dict[str, Any]:
    """Read a checkpoint of the detector as it was saved.

    Args:
        path: The file.
        resuming: A run is to go on with it; errors then say how to begin again.

    Raises:
        DataError: The file is missing, damaged, or of another kind.
    """
    state = load_checkpoint(path, resuming)
    if state.get("kind") != KIND:
        raise DataError(path, f"is not a checkpoint of the detector ({KIND})")
    return state


def read_network(path: Path) -> Network:
    """Read the network of a checkpoint, or of an ONNX file that this kit exported.

    Raises:
        DataError: The file is missing, damaged, of another kind, or does not fit together.
    """
    if path.suffix.lower() == ".onnx":
        from training.detector.onnx_weights import read_onnx_network

        return read_onnx_network(path)
    state = read_checkpoint(path)
    try:
        network = Network(
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
    """Hold weights to a layout.

    Raises:
        DataError: A weight is missing, unknown, or of another shape.
    """
    import torch

    with torch.device("meta"):
        wanted = {
            name: tuple(value.shape) for name, value in DetectNet(layout).state_dict().items()
        }
    given = {name: tuple(value.shape) for name, value in weights.items()}
    wrong: Sequence[str] = sorted(
        name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name)
    )
    if wrong:
        name = wrong[0]
        raise DataError(
            path,
            f"weights and layout differ: {name} is {given.get(name, 'missing')}, "
            f"expected {wanted.get(name, 'nothing')}",
        )


def settings_of(experiment: Experiment) -> dict[str, str]:
    """Return what a run's steps depend on, by dotted name, as text for a checkpoint."""
    found: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(f"{name}.{key}", inner)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            for index, inner in enumerate(value):
                add(f"{name}[{index}]", inner)
        else:
            found[name] = str(value)

    for part, value in asdict(experiment).items():
        add(part, value)
    changeable = tuple(f"{name}{end}" for name in FREE_TO_CHANGE for end in (".", "["))
    return {
        name: value
        for name, value in found.items()
        if name not in FREE_TO_CHANGE and not name.startswith(changeable)
    }


def check_experiment(path: Path, state: Mapping[str, Any], experiment: Experiment) -> None:
    """Hold a checkpoint to the spec that a run is to go on by.

    Raises:
        DataError: They differ in more than ``FREE_TO_CHANGE``; names what differs.
    """
    frame = experiment.augmentation
    wanted = settings_of(experiment)
    known: Mapping[str, str] = state.get("settings", wanted)
    differences = [
        (what, found, asked)
        for what, found, asked in (
            ("classes", state["classes"], list(experiment.dataset.class_names)),
            ("a frame of", [state["width"], state["height"]], [frame.width, frame.height]),
            ("random_seed", state["seed"], experiment.random_seed),
            *(
                (name, known.get(name, "nothing"), wanted.get(name, "nothing"))
                for name in sorted(known.keys() | wanted.keys())
                if name != "random_seed"
            ),
        )
        if found != asked
    ]
    if differences:
        listed = "; ".join(
            f"{what} {found}, the spec {asked}" for what, found, asked in differences
        )
        raise DataError(path, f"has {listed}: name another folder, or remove what is in this one")
