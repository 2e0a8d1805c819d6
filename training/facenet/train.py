"""The face network's recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.detector.losses import detection_loss
from training.detector.network import DetectNet
from training.detector.step import predict
from training.facenet.mixture import Mixture, load_sources
from training.steps import Recipe, RunOptions, StepResult, fit


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """Options of a run, with the face network's defaults."""

    steps: int = 20000
    warmup: int = 300
    cooldown: float = 0.35
    decay: float = 0.999


def train(options: TrainOptions) -> Path:
    """Train, or go on from the checkpoint in the output folder; see ``training.steps.fit``.

    Returns:
        The checkpoint.
    """
    return fit(
        options,
        Recipe(
            title="Face network",
            network=DetectNet,
            read=lambda: Mixture(load_sources(options.data), options.seed, options.steps),
            step=lambda model, _, batch: compute(model, batch),
        ),
    )


def compute(model: DetectNet, batch: dict[str, Any]) -> StepResult:
    """Compute a step's losses.

    Args:
        model: The network, in training mode.
        batch: A batch of ``Mixture``, on the network's device.
    """
    predicted, logit = predict(model, batch["image"], half=True)
    names = ("boxes", "covered", "box_weight", "coverage_weight")
    return StepResult(detection_loss(predicted, logit, *(batch[name] for name in names)))
