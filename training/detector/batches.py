# mypy: allow-subclassing-any
"""The batches of a run, each drawn from the seed and its own number alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from facekit.contract import GRID_STRIDE
from training.detector.augment import draw_frame
from training.detector.frames import IGNORED, LabelledPhoto
from training.detector.targets import build_targets, coverage_rules
from training.experiment.settings import Experiment
from training.runs import step_rng

_ORDER_STREAM = 1
"""Stream of chance of the photos' order, apart from that of the frames."""


class Batches(Dataset[dict[str, Tensor]]):
    """Item k is the batch of step k.

    The photos are shuffled anew for every epoch and dealt out without a gap, so that every batch
    is full and an epoch may end within one. With crops, a batch of whole frames has as many
    photos as makes about the same number of pixels.
    """

    def __init__(self, photos: tuple[LabelledPhoto, ...], experiment: Experiment) -> None:
        """Deal out the photos of a run."""
        self.photos, self.experiment = photos, experiment
        self.seed = experiment.random_seed
        augmentation, training = experiment.augmentation, experiment.training
        self.rules = coverage_rules(experiment.rasterizer, experiment.cost)
        self.whole = (augmentation.width, augmentation.height)
        self.crop = self.whole
        self.period = 0
        self.whole_count = training.batch_size
        if augmentation.crop_width and augmentation.crop_height:
            self.crop = (augmentation.crop_width, augmentation.crop_height)
            self.period = augmentation.whole_frame_period
            share = self.crop[0] * self.crop[1] / (self.whole[0] * self.whole[1])
            self.whole_count = max(1, round(training.batch_size * share))
        self.steps = self._first_step(training.epochs * len(photos))
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        """Return the number of steps of the run."""
        return self.steps

    def is_whole(self, step: int) -> bool:
        """Tell whether the batch of a step shows whole frames."""
        return self.crop == self.whole or (self.period > 0 and step % self.period == 0)

    def shown_before(self, step: int) -> int:
        """Return how many photos were shown before a step."""
        wholes = -(-step // self.period) if self.period > 0 else 0
        return wholes * self.whole_count + (step - wholes) * self.experiment.training.batch_size

    def epochs_after(self, step: int) -> int:
        """Return how many epochs are over once a step is done."""
        return self.shown_before(step + 1) // len(self.photos)

    def _first_step(self, shown: int) -> int:
        """Return the first step before which at least so many photos were shown."""
        low, high = 0, shown + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.shown_before(middle) >= shown else (middle + 1, high)
        return low

    def _photo(self, place: int) -> LabelledPhoto:
        """Return the photo at a place of the whole run's order."""
        epoch, rank = divmod(place, len(self.photos))
        if self._order[0] != epoch:
            chance = step_rng(self.seed, epoch, _ORDER_STREAM)
            self._order = (epoch, chance.permutation(len(self.photos)))
        return self.photos[int(self._order[1][rank])]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step.

        Returns:
            ``image`` uint8 [n, 3, h, w], channels last in memory, and the grids of
            ``targets.GridTargets``, stacked.
        """
        rng = step_rng(self.seed, step)
        whole = self.is_whole(step)
        size = self.whole if whole else self.crop
        count = self.whole_count if whole else self.experiment.training.batch_size
        grid = (size[1] // GRID_STRIDE, size[0] // GRID_STRIDE)
        first = self.shown_before(step)
        images, targets = [], []
        for place in range(first, first + count):
            photos = [self._photo(place)]
            if rng.random() < self.experiment.augmentation.mosaic_probability:
                others = rng.integers(0, len(self.photos), size=3)
                photos += [self.photos[int(other)] for other in others]
            frame = draw_frame(rng, tuple(photos), self.experiment.augmentation, size)
            images.append(np.asarray(frame.image))
            face = frame.classes != IGNORED
            targets.append(
                build_targets(
                    frame.boxes_xyxy[face],
                    frame.boxes_xyxy[~face],
                    grid,
                    classes=frame.classes[face],
                    rules=self.rules,
                )
            )
        names = ("covered", "boxes", "box_weight", "coverage_weight")
        batch = {n: torch.from_numpy(np.stack([getattr(t, n) for t in targets])) for n in names}
        batch["image"] = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return batch
