"""Recipes that are counted in steps: AdamW, averaged weights, and a rate that stays and falls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.loop import Recipe

WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class StepOptions:
    """Options every run has; each trainer has its own defaults.

    Attributes:
        data: Folder of the face sets.
        out: Folder for the checkpoint, the metrics file and its plot.
        steps: Steps in all.
        seed: Seed of weights and batches.
        rate: Peak learning rate.
        warmup: Steps of the rising rate.
        cooldown: Share of the run, from its end, over which the rate falls.
        decay: Decay of the averaged weights.
        save_every: Steps between checkpoints.
    """

    data: Path
    out: Path
    steps: int = 8000
    seed: int = 0
    rate: float = 2e-3
    warmup: int = 200
    cooldown: float = 0.5
    decay: float = 0.998
    save_every: int = 250


def learning_rate(step: int, total: int, peak: float, warmup: int, cooldown: float) -> float:
    """Return the learning rate of a step: ramp up, stay, then fall to 1 % of the peak.

    The plateau lets a run be resumed with another total before its fall begins, and end as
    if it had been started with that total.

    Args:
        step: Step from 0.
        total: Steps of the run.
        peak: Rate of the plateau.
        warmup: Steps of the ramp.
        cooldown: Share of the run, from its end, over which the rate falls.
    """
    rise = min(1.0, (step + 1) / max(warmup, 1))
    left = (total - step) / max(total * cooldown, 1.0)
    return peak * rise * max(0.01, min(1.0, left))


class StepRecipe(Recipe):
    """A recipe whose run has a number of steps."""

    def __init__(self, options: StepOptions) -> None:
        self.options = options
        self.seed, self.steps = options.seed, options.steps
        self.save_every, self.average_decay = options.save_every, options.decay

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(
            model.parameters(), lr=self.options.rate, weight_decay=WEIGHT_DECAY
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        o = self.options
        return learning_rate(step, o.steps, o.rate, o.warmup, o.cooldown)
