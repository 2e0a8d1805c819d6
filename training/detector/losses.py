"""Losses of the detector's two heads: TLT's, and the kit's own of overlap and quality.

Tensors of all losses, for n frames, C classes and a grid of h x w cells:

- ``predicted``: float [n, C, 4, h, w], decoded corners in pixels.
- ``logit``: float [n, C, h, w], coverage before its sigmoid.
- ``boxes``: float [n, C, 4, h, w], true corners in pixels.
- ``covered``: float [n, C, h, w], 1 where a face of the class covers the cell.
- ``box_weight``: float [n, C, h, w].
- ``coverage_weight``: float [n, C, h, w], 0 where ignored, negative where doubtful.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from facekit.detection.grid import BOX_SCALE
from training.experiment.training import CostFunctionConfig

OBJECTIVES = ("coverage", "box")

FULL_QUALITY_IOU = 0.75
"""Overlap from which a box's coverage target is 1."""
FOCUS = 2.0
SURE = 0.3
"""Coverage from which a doubtful cell is taken for an unannotated face and left alone."""
LEAST_FACES = 8.0
"""Least divisor of the coverage loss, so that batches with hardly a face do not count more."""


def overlap(
    first: Tensor, second: Tensor, dim: int = 1, epsilon: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Return IoU and generalized IoU of boxes given as corners along ``dim``.

    The first, predicted ones may be inverted, which counts as empty; ``epsilon`` keeps empty areas
    from dividing by zero.
    """
    ax1, ay1, ax2, ay2 = first.unbind(dim)
    bx1, by1, bx2, by2 = second.unbind(dim)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    inner = width * height
    area_a = (ax2 - ax1).clamp(min=0) * (ay2 - ay1).clamp(min=0)
    union = area_a + (bx2 - bx1) * (by2 - by1) - inner
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (
        torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    )
    iou = inner / (union + epsilon)
    return iou, iou - (hull - union) / (hull + epsilon)


def detection_loss(
    predicted: Tensor,
    logit: Tensor,
    boxes: Tensor,
    covered: Tensor,
    box_weight: Tensor,
    coverage_weight: Tensor,
) -> dict[str, Tensor]:
    """Return the parts of the kit's own loss of a batch; tensors as the module says.

    Coverage is trained towards how well the cell's own box fits (so that the surest cell has
    the best box), with focus on the cells that are wrong; boxes by generalized IoU and by L1
    relative to the face's size. The scalars ``coverage``, ``giou`` and ``l1`` are already weighted
    against each other.
    """
    giou, l1, quality = box_overlap_losses(predicted, boxes, box_weight)
    coverage = quality_focal_loss(logit, quality * covered, covered, coverage_weight)
    return {"coverage": coverage.sum(), "giou": giou.sum(), "l1": l1.sum()}


def box_overlap_losses(
    predicted: Tensor, boxes: Tensor, box_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the box losses of each class, and how well each cell's box fits.

    They are generalized IoU's loss [C] and the relative L1's [C], as means over the faces of all
    classes, and the quality, [n, C, h, w] without a gradient, 0 where there is no box.
    """
    mask = box_weight > 0
    quality = torch.zeros_like(box_weight)
    zero = predicted.sum(dim=(0, 2, 3, 4)) * 0.0
    if not bool(mask.any()):
        return zero, zero, quality
    weight = box_weight[mask]
    chosen = predicted.movedim(2, -1)[mask]
    true = boxes.movedim(2, -1)[mask]
    iou, giou = overlap(chosen, true)
    size = ((true[:, 2] - true[:, 0]) * (true[:, 3] - true[:, 1])).sqrt().clamp(min=4.0)
    error = functional.smooth_l1_loss(
        chosen / size[:, None], true / size[:, None], reduction="none", beta=0.05
    )
    quality[mask] = (iou.detach() / FULL_QUALITY_IOU).clamp(0.05, 1.0)
    # Sums by class as a product: adding by index would differ from run to run on a GPU.
    of_class = functional.one_hot(mask.nonzero()[:, 1], mask.shape[1]).to(weight.dtype)
    share = weight / weight.sum()
    giou_loss = (of_class * (share * (1.0 - giou))[:, None]).sum(dim=0)
    l1_loss = (of_class * (share * error.mean(dim=1))[:, None]).sum(dim=0)
    return giou_loss, 2.0 * l1_loss, quality


def quality_focal_loss(
    logit: Tensor, target: Tensor, covered: Tensor, coverage_weight: Tensor
) -> Tensor:
    """Return the coverage loss of each class, [C], a mean over the covered cells of all classes.

    ``target`` is what the coverage should be, [n, C, h, w]; the others are as the module says.
    """
    unsure = torch.sigmoid(logit.detach()) < SURE
    coverage_weight = torch.where(
        coverage_weight < 0, coverage_weight.abs() * unsure, coverage_weight
    )
    faces = (covered * coverage_weight).sum().clamp(min=LEAST_FACES)
    focus = (torch.sigmoid(logit) - target).abs().pow(FOCUS)
    cross = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return 2.0 * (coverage_weight * focus * cross).sum(dim=(0, 2, 3)) / faces


def cross_entropy_loss(
    logit: Tensor, target: Tensor, coverage_weight: Tensor, foreground_weight: Tensor
) -> Tensor:
    """Return TLT's coverage loss of each class, [C]: the mean over all cells.

    Source: ``weighted_binary_cross_entropy_cost`` of tao_tensorflow1_backend. ``target`` is what
    the coverage should be, [n, C, h, w]; of ``coverage_weight`` only where it is 0 matters;
    ``foreground_weight`` [C] is that of a covered cell, and a cell not covered has 1 less that.
    """
    foreground = foreground_weight[:, None, None]
    weight = torch.where(target > 0.5, foreground, 1.0 - foreground) * (coverage_weight != 0)
    cross = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return (weight * cross).mean(dim=(0, 2, 3))


def box_l1_loss(predicted: Tensor, boxes: Tensor, box_weight: Tensor) -> Tensor:
    """Return TLT's box loss of each class, [C]: the mean over all cells and sides.

    Source: ``weighted_L1_cost`` of tao_tensorflow1_backend, on offsets in units of 35 pixels,
    weighted by the normalized coverage.
    """
    distance = (predicted - boxes).abs() / BOX_SCALE
    # A cell without a face has no box: nothing to be far from, whatever the weight.
    return (distance * box_weight[:, :, None]).mean(dim=(0, 2, 3, 4))


class CostFunction:
    """Weighs the objectives of the classes against each other, as TLT's cost function does.

    The weights of a class's objectives, and those of the classes, are shares of 1. With
    ``enable_autoweighting`` the objectives' weights are set anew after each epoch: the target of
    each over its mean loss, as shares of 1, within the spec's bounds (``CostAutoWeightHook`` of
    tao_tensorflow1_backend).
    """

    def __init__(self, cost: CostFunctionConfig, device: torch.device) -> None:
        """Start from the spec's initial weights; losses are computed on ``device``."""
        self.cost, classes = cost, cost.target_classes
        self.quality_focal = cost.facekit.coverage_loss == "QUALITY_FOCAL"
        self.giou = cost.facekit.bbox_loss == "GIOU"
        weights = torch.tensor([each.class_weight for each in classes], device=device)
        self.class_weight = weights / weights.sum()
        shares = [each.coverage_foreground_weight for each in classes]
        self.foreground = torch.tensor(shares, device=device)
        both = [[each.weights(name) for each in classes] for name in ("cov", "bbox")]
        initial, self.target = torch.tensor(both, device=device).unbind(dim=-1)
        self.weight = initial / initial.sum(dim=0).clamp(min=1e-12)
        self.sums = torch.zeros_like(self.weight)
        # The kit's own losses are weighted against each other already, and against the clipping
        # of the gradient: with equal weights they count as they are.
        own = self.quality_focal or self.giou
        self.scale = float(len(OBJECTIVES) * len(classes)) if own else 1.0

    def __call__(
        self, predicted: Tensor, logit: Tensor, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to derive, and the objectives' unweighted losses by name.

        The arguments are as the module says; ``batch`` has ``boxes``, ``covered``, ``box_weight``
        and ``coverage_weight``.
        """
        covered, coverage_weight = batch["covered"], batch["coverage_weight"]
        boxes, box_weight = batch["boxes"], batch["box_weight"]
        quality = covered
        if self.giou or self.quality_focal:
            giou, l1, quality = box_overlap_losses(predicted, boxes, box_weight)
        box = giou + l1 if self.giou else box_l1_loss(predicted, boxes, box_weight)
        if self.quality_focal:
            coverage = quality_focal_loss(logit, quality * covered, covered, coverage_weight)
        else:
            coverage = cross_entropy_loss(logit, covered, coverage_weight, self.foreground)
        losses = torch.stack([coverage, box])
        self.sums += losses.detach()
        total = self.scale * (losses * self.weight * self.class_weight).sum()
        return total, {name: losses[k].sum() for k, name in enumerate(OBJECTIVES)}

    def end_epoch(self) -> None:
        """Set the weights anew, where the spec asks for it, from the losses since the last time."""
        if self.cost.enable_autoweighting:
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
