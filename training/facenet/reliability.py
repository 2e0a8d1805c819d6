"""How often a box of a score is a face: the reliability diagram of a detector."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekit.evaluation.average_precision import match
from facekit.evaluation.class_scores import ClassEvaluation, ScoredPhoto
from facekit.outputs import write_figure

BINS = 10
"""Bins of the scores from 0 to 1."""


class Bin(NamedTuple):
    """The boxes of a range of scores: how many, their mean score, and the share that are faces."""

    low: float
    boxes: int
    score: float
    share: float


def outcomes(
    photos: Iterable[ScoredPhoto], smallest: float, label: int = 0, iou: float = 0.5
) -> NDArray[np.float64]:
    """Return score and success of a class's boxes that count, from a least height on: [n, 2]."""
    rule = ClassEvaluation(iou, minimum_height=smallest)
    pairs = [pair for photo in photos for pair in match(photo.of_class(label, rule), iou)]
    return np.array(pairs, np.float64).reshape(-1, 2)


def reliability(pairs: NDArray[np.float64]) -> list[Bin]:
    """Return the bins that have boxes, of what ``outcomes`` returns."""
    place = np.minimum((pairs[:, 0] * BINS).astype(int), BINS - 1)
    parts = ((index, pairs[place == index]) for index in range(BINS))
    return [
        Bin(index / BINS, len(part), *(float(mean) for mean in part.mean(axis=0)))
        for index, part in parts
        if len(part)
    ]


def plot_reliability(path: Path, bins: list[Bin], title: str) -> None:
    """Draw the share of faces over the score; DataError if the file can't be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="#5c6670", linestyle="--", label="score = share")
    axes.plot([b.score for b in bins], [b.share for b in bins], color="#2563a8", marker="o")
    for each in bins:
        axes.annotate(f" {each.boxes}", (each.score, each.share), va="top", fontsize=8)
    axes.set(title=title, xlabel="score of the boxes", ylabel="share that are faces (IoU 0.5)")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    write_figure(path, figure)
