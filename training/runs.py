"""What every training run needs: averaged weights, checkpoints, random numbers of a step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn

from facekit.errors import DataError

CHECKPOINT = "checkpoint.pt"
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def step_rng(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """Return the generator of one step: the same however often a run was interrupted."""
    return np.random.default_rng([seed, stream, step])


class AveragedModel:
    """An exponential moving average of a model's weights and batch statistics."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's present weights.

        Args:
            model: The model that is trained.
            decay: Share of the average kept at a step, once warmed up.
        """
        self.model = copy.deepcopy(model).eval()
        self.decay = decay
        self.updates = 0

    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's present weights."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        source = model.state_dict()
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(source[name].to(value.dtype), 1.0 - decay)
                else:
                    value.copy_(source[name])


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves either the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(path, "no such checkpoint") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DataError(path, f"is not a usable checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise DataError(path, "is not a usable checkpoint: no table of values")
    return state


def place(model: ModuleT, device: torch.device) -> ModuleT:
    """Move a model to a device, channels last: the layout the convolutions are fastest in."""
    moved: ModuleT = cast(Any, model).to(device, memory_format=torch.channels_last)
    return moved
