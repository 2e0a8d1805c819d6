"""What happens when in a run: the learning rate, and what is due with an epoch."""

from __future__ import annotations

import math

from training.experiment.settings import Training

LEAST_SHARE = 1e-9
"""Least rate as a share of the largest: 0 has no logarithm."""


def learning_rate(progress: float, training: Training) -> float:
    """Return the rate of TLT's soft-start annealing schedule.

    It rises from the least to the largest rate, stays, and falls back; both ramps are straight
    lines of the logarithm (``get_softstart_annealing_learning_rate`` of tao_tensorflow1_backend).

    Args:
        progress: Share of the run that is over, 0..1.
        training: The spec's.
    """
    if progress < training.soft_start:
        share = progress / training.soft_start
    elif progress > training.annealing:
        share = (1.0 - progress) / max(1.0 - training.annealing, 1e-9)
    else:
        return training.max_learning_rate
    low = math.log(max(training.min_learning_rate, LEAST_SHARE * training.max_learning_rate))
    high = math.log(training.max_learning_rate)
    return math.exp(low + share * (high - low))


def falls_within(before: int, now: int, first: int, period: int) -> bool:
    """Tell whether one of the epochs ``first + k * period`` came after ``before``, by ``now``."""
    if period <= 0 or now < first:
        return False
    return before < now - (now - first) % period
