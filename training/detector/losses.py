"""Losses of the detector's two heads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FULL_QUALITY_IOU = 0.75
"""Overlap from which a box's coverage target is 1."""
FOCUS = 2.0
SURE = 0.3
"""Coverage from which a doubtful cell is taken for an unannotated face and left alone."""


def overlap(
    first: Tensor, second: Tensor, dim: int = 1, epsilon: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes given as corners along ``dim``.

    Args:
        first: Predicted corners; may be inverted, which counts as empty.
        second: True corners, the same shape.
        dim: The axis of x1, y1, x2, y2.
        epsilon: Keeps empty areas from dividing by zero.
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
    coverage_logit: Tensor,
    boxes: Tensor,
    covered: Tensor,
    box_weight: Tensor,
    coverage_weight: Tensor,
) -> dict[str, Tensor]:
    """Return the parts of the loss of a batch.

    Coverage is trained towards how well the cell's own box fits (so that the surest cell has
    the best box), with focus on the cells that are wrong; boxes by generalised IoU and by L1
    relative to the face's size.

    Args:
        predicted: float [n, 4, h, w], decoded corners in pixels.
        coverage_logit: float [n, 1, h, w].
        boxes: float [n, 4, h, w], true corners in pixels.
        covered: float [n, h, w], 1 where a face covers the cell.
        box_weight: float [n, h, w].
        coverage_weight: float [n, h, w], negative where doubtful.

    Returns:
        Scalars ``coverage``, ``giou`` and ``l1``, already weighted against each other.
    """
    logit = coverage_logit[:, 0]
    mask = box_weight > 0
    weight = box_weight[mask]
    unsure = torch.sigmoid(logit.detach()) < SURE
    coverage_weight = torch.where(
        coverage_weight < 0, coverage_weight.abs() * unsure, coverage_weight
    )
    faces = (covered * coverage_weight).sum().clamp(min=8.0)
    quality = torch.zeros_like(covered)
    giou_loss = l1_loss = predicted.sum() * 0.0
    if bool(mask.any()):
        chosen = predicted.permute(0, 2, 3, 1)[mask]
        true = boxes.permute(0, 2, 3, 1)[mask]
        iou, giou = overlap(chosen, true)
        size = ((true[:, 2] - true[:, 0]) * (true[:, 3] - true[:, 1])).sqrt().clamp(min=4.0)
        total = weight.sum()
        giou_loss = (weight * (1.0 - giou)).sum() / total
        error = functional.smooth_l1_loss(
            chosen / size[:, None], true / size[:, None], reduction="none", beta=0.05
        )
        l1_loss = (weight * error.mean(dim=1)).sum() / total
        quality[mask] = (iou.detach() / FULL_QUALITY_IOU).clamp(0.05, 1.0)
    target = quality * covered
    focus = (torch.sigmoid(logit) - target).abs().pow(FOCUS)
    cross = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    coverage_loss = (coverage_weight * focus * cross).sum() / faces
    return {"coverage": 2.0 * coverage_loss, "giou": giou_loss, "l1": 2.0 * l1_loss}
