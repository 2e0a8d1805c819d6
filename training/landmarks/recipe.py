"""The landmark network's recipe: its crops, its losses, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facekit.contract import CROP_SIDE
from facekit.evaluation.landmark_errors import region_points
from facekit.labels.pts import POINT_COUNT
from training.devices import half_precision
from training.export import export_average
from training.landmarks.augment import Crops, load_patches
from training.landmarks.losses import MAP_WEIGHT, map_loss, point_loss
from training.landmarks.network import INPUT_NAME, MAPS_NAME, PEAKS_NAME, POINTS_NAME, LandmarkNet
from training.loop import Run, StepResult, other_run
from training.steps import StepOptions, StepRecipe

REGIONS = ("all", "eyes", "mouth")
"""Regions whose errors are recorded: those of NVIDIA's card."""


@dataclass(frozen=True)
class LandmarkOptions(StepOptions):
    """Options of a run: 68, 80 or 104 points, whose loss is ``wing``, ``l1`` or ``l2``."""

    steps: int = 16000
    points: int = POINT_COUNT
    loss: str = "l1"


class LandmarkRecipe(StepRecipe):
    """Trains the landmark network."""

    figures = REGIONS
    figures_label = "error on training crops, pixels"

    def __init__(self, options: LandmarkOptions) -> None:
        super().__init__(options)
        self.points, self.loss = options.points, options.loss
        self.title = f"Landmarks: {self.points} points, {self.loss} loss"

    def check(self, path: Path, state: Mapping[str, Any]) -> None:
        """Check points, loss and seed of a checkpoint; the first ones did not say the former."""
        for name, value in {"points": POINT_COUNT, "loss": "wing", **state}.items():
            if name in ("points", "loss") and value != getattr(self, name):
                raise other_run(path, name, value, getattr(self, name))
        super().check(path, state)

    def state(self, run: Run) -> dict[str, Any]:
        """Return points and loss."""
        return {"points": self.points, "loss": self.loss}

    def read(self) -> Crops:
        """Read the faces."""
        return Crops(load_patches(self.options.data, self.points), self.seed)

    def network(self, state: Mapping[str, Any] | None, device: torch.device) -> LandmarkNet:
        """Return the network."""
        return LandmarkNet(self.points)

    def step(self, model: LandmarkNet, step: int, batch: dict[str, Tensor]) -> StepResult:
        """Return the loss of a batch of ``Crops``, and its errors in crop pixels by region."""
        crops = batch["crops"].float().contiguous(memory_format=torch.channels_last)
        points = batch["points"]
        with half_precision(crops.device):
            maps = model.small_maps(crops).float()
        logs = torch.log_softmax(maps.flatten(2), dim=-1)
        found = model.locate(logs.exp())
        by_points = point_loss(found, points, self.loss)
        by_maps = MAP_WEIGHT * map_loss(logs.view_as(maps), points)
        values = {self.loss: by_points, "map": by_maps, **region_errors(found.detach(), points)}
        return StepResult(torch.stack([by_points, by_maps]).sum(), values)


def region_errors(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Return the mean distance of the annotated points by region, where a region has any.

    Both are float32 [n, points, 2] in crop pixels; NaN where not annotated.
    """
    distance = (found - true).norm(dim=-1)
    known = torch.isfinite(distance)
    regions = region_points(true.shape[1])
    errors = {}
    for name in REGIONS:
        part = torch.from_numpy(regions[name]).to(distance.device)
        here = known[:, part]
        if bool(here.any()):
            errors[name] = distance[:, part][here].mean()
    return errors


def export(checkpoint: Path, path: Path) -> float:
    """Write the averaged weights of a checkpoint as an ONNX file, see ``write_onnx``."""
    return export_average(
        checkpoint,
        path,
        lambda state: LandmarkNet(len(state["average"]["maps.weight"])),
        (2, 1, CROP_SIDE, CROP_SIDE),
        255.0,
        INPUT_NAME,
        (MAPS_NAME, POINTS_NAME, PEAKS_NAME),
        "Face landmarks of facekit with FPENet's tensors. Research and evaluation only.",
    )
