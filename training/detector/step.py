"""One step of training the detector, whatever its frames and losses are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.detector.network import DetectNet
from training.detector.targets import decode
from training.devices import half_precision


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Move a batch to a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def to_unit(image: Tensor) -> Tensor:
    """Return uint8 pictures as the network takes them: float in 0..1, channels last."""
    return image.float().div_(255.0).contiguous(memory_format=torch.channels_last)


def predict(model: DetectNet, image: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """Return the corners and the coverage before its sigmoid that the losses compare.

    Args:
        model: The network.
        image: uint8 [n, 3, h, w], on the network's device.
        half: Compute in bfloat16 where the layers allow it.

    Returns:
        float32 [n, C, 4, h/16, w/16] in frame pixels, and float32 [n, C, h/16, w/16].
    """
    with half_precision(image.device, half):
        bbox, coverage = model.logits(to_unit(image))
    return decode(bbox), coverage


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return scalars as plain numbers."""
    return {name: float(value.detach()) for name, value in values.items()}
