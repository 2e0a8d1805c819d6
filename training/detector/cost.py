"""The cost function of a spec: its losses, put together with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.detector.losses import (
    box_l1_loss,
    box_overlap_losses,
    cross_entropy_loss,
    quality_focal_loss,
)
from training.experiment.settings import Cost

OBJECTIVES = ("coverage", "box")


class CostFunction:
    """Weighs the objectives of the classes against each other, as TLT's cost function does.

    The weights of a class's objectives, and those of the classes, are shares of 1. With
    ``enable_autoweighting`` the objectives' weights are set anew after each epoch: the target of
    each over its mean loss, as shares of 1, within the spec's bounds (``CostAutoWeightHook`` of
    tao_tensorflow1_backend).
    """

    def __init__(self, cost: Cost, device: torch.device) -> None:
        """Start from the spec's initial weights.

        Args:
            cost: The spec's.
            device: Where the losses are computed.
        """
        self.cost = cost

        def numbers(name: str) -> Tensor:
            return torch.tensor([getattr(c, name) for c in cost.classes], device=device)

        weights = numbers("class_weight")
        self.class_weight = weights / weights.sum()
        self.foreground = numbers("coverage_foreground_weight")
        initial = torch.stack([numbers("coverage_initial_weight"), numbers("bbox_initial_weight")])
        self.target = torch.stack(
            [numbers("coverage_weight_target"), numbers("bbox_weight_target")]
        )
        self.weight = initial / initial.sum(dim=0).clamp(min=1e-12)
        self.sums = torch.zeros_like(self.weight)
        # The kit's own losses are weighted against each other already, and against the clipping
        # of the gradient: with equal weights they count as they are.
        own = cost.coverage_loss == "QUALITY_FOCAL" or cost.bbox_loss == "GIOU"
        self.scale = float(len(OBJECTIVES) * len(cost.classes)) if own else 1.0

    def __call__(
        self, predicted: Tensor, logit: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to derive, and the objectives' unweighted losses by name.

        Args:
            predicted: float [n, C, 4, h, w], decoded corners in pixels.
            logit: float [n, C, h, w].
            batch: ``boxes``, ``covered``, ``box_weight``, ``coverage_weight``.
        """
        covered, coverage_weight = batch["covered"], batch["coverage_weight"]
        boxes, box_weight = batch["boxes"], batch["box_weight"]
        quality = covered
        if "GIOU" == self.cost.bbox_loss or "QUALITY_FOCAL" == self.cost.coverage_loss:
            giou, l1, quality = box_overlap_losses(predicted, boxes, box_weight)
        if self.cost.bbox_loss == "GIOU":
            box = giou + l1
        else:
            box = box_l1_loss(predicted, boxes, box_weight)
        if self.cost.coverage_loss == "QUALITY_FOCAL":
            coverage = quality_focal_loss(logit, quality * covered, covered, coverage_weight)
        else:
            coverage = cross_entropy_loss(logit, covered, coverage_weight, self.foreground)
        losses = torch.stack([coverage, box])
        self.sums += losses.detach()
        total = self.scale * (losses * self.weight * self.class_weight).sum()
        return total, {name: losses[k].sum() for k, name in enumerate(OBJECTIVES)}

    def end_epoch(self) -> None:
        """Set the weights anew, where the spec asks for it, from the losses since the last time."""
        if self.cost.autoweighting:
            wanted = torch.where(self.sums > 0, self.target / self.sums.clamp(min=1e-30), 0.0)
            share = wanted / wanted.sum(dim=0).clamp(min=1e-30)
            bounds = self.cost.min_objective_weight, self.cost.max_objective_weight
            self.weight = torch.where(wanted.sum(dim=0) > 0, share.clamp(*bounds), self.weight)
        self.sums = torch.zeros_like(self.sums)

    def state(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"weight": self.weight.cpu(), "sums": self.sums.cpu()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.weight = state["weight"].to(self.weight.device)
        self.sums = state["sums"].to(self.sums.device)
