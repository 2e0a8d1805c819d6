"""The face network's recipe: its frames, its losses, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from training.detector.losses import detection_loss
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME, DetectNet
from training.detector.recipe import predict
from training.export import export_average
from training.facenet.mixture import Mixture, load_sources
from training.loop import StepResult
from training.steps import StepOptions, StepRecipe


@dataclass(frozen=True)
class FaceOptions(StepOptions):
    """Options of a run, with the face network's defaults."""

    steps: int = 20000
    warmup: int = 300
    cooldown: float = 0.35
    decay: float = 0.999


class FaceRecipe(StepRecipe):
    """Trains the open face network."""

    title = "Face network"

    def read(self) -> Mixture:
        """Read the photos."""
        return Mixture(load_sources(self.options.data), self.seed)

    def network(self, state: Mapping[str, Any] | None, device: torch.device) -> DetectNet:
        """Return the network."""
        return DetectNet()

    def step(self, model: DetectNet, step: int, batch: dict[str, Tensor]) -> StepResult:
        """Return the loss of a batch of ``Mixture``."""
        names = ("boxes", "covered", "box_weight", "coverage_weight")
        both = predict(model, batch["image"], half=True)
        parts = detection_loss(*both, *(batch[name] for name in names))
        return StepResult(torch.stack(list(parts.values())).sum(), parts)


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file, see ``write_onnx``."""
    return export_average(
        checkpoint,
        path,
        lambda _: DetectNet(),
        (2, 3, NETWORK_HEIGHT, NETWORK_WIDTH),
        1.0,
        INPUT_NAME,
        (BBOX_NAME, COVERAGE_NAME),
        "Face detector of facekit with FaceNet's tensors. Research and evaluation only.",
    )
