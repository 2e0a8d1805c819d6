"""Detectors and photos to test the tools of the detector with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from facekit.detection.grid import encode_boxes

CLASSES = ("bare", "covered")
FRAME_WH = (320, 192)
GRID = (12, 20)
Object = tuple[int, tuple[float, float, float, float], float]
"""Class, x1 y1 x2 y2 in frame pixels, and coverage."""


@dataclass
class Oracle:
    """A network that finds in its k-th frame what it was told, each object by two cells."""

    found: Sequence[Sequence[Object]]
    classes: tuple[str, ...] = CLASSES
    size_wh: tuple[int, int] = FRAME_WH
    frames: list[np.ndarray] = field(default_factory=list)

    def run(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bbox = np.zeros((1, 4 * len(self.classes), *GRID), np.float32)
        coverage = np.zeros((1, len(self.classes), *GRID), np.float32)
        for label, box, score in self.found[len(self.frames)]:
            row, column = int((box[1] + box[3]) / 32), int((box[0] + box[2]) / 32)
            cells = np.array([row * GRID[1] + column, row * GRID[1] + column + 1])
            offsets = encode_boxes(np.array([box, box]), cells, GRID[1])
            bbox[0, 4 * label : 4 * label + 4, row, column : column + 2] = offsets
            coverage[0, label, row, column : column + 2] = score
        self.frames.append(frames)
        return bbox, coverage


def write_photo(path: Path, size_wh: tuple[int, int] = (640, 384), seed: int = 0) -> Path:
    """Write a photo of coarse noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 20, 3)).astype(np.uint8))
    small.resize(size_wh, Image.Resampling.BICUBIC).save(path)
    return path


def write_network(
    path: Path, classes: Sequence[str] = CLASSES, size_wh: tuple[int, int] = FRAME_WH
) -> Path:
    """Write a narrow network that was not trained."""
    import torch

    from training.detector.network import DetectNet, resnet_layout
    from training.detector.saved import SavedNetwork, save_network

    torch.manual_seed(0)
    layout = resnet_layout(10, len(classes), (8, 8, 8, 8, 8))
    state = DetectNet(layout).state_dict()
    save_network(path, SavedNetwork(layout, tuple(classes), size_wh, state))
    return path
