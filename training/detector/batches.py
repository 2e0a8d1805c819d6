# mypy: allow-subclassing-any
"""The batches of a run, each drawn from the seed and its own number alone."""

import logging
from bisect import bisect_left

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from facekit.contract import GRID_STRIDE
from facekit.errors import DataError
from training.detector.augment import Frame, draw_frame
from training.detector.frames import IGNORED, LabeledPhoto
from training.detector.targets import (
    GridTargets,
    build_targets,
    build_tlt_targets,
    coverage_rules,
    stack_targets,
)
from training.experiment.spec import Experiment
from training.loop import step_rng

LOGGER = logging.getLogger("training")
_ORDER_STREAM = 1
"""Random stream of the photos' order, apart from that of the frames."""


class Batches(Dataset[dict[str, Tensor]]):
    """Item k is the batch of step k.

    The photos are shuffled anew for every epoch and dealt out without a gap, so that every batch
    is full and an epoch may end within one. With crops, a batch of whole frames has as many
    photos as makes about the same number of pixels. A photo that goes away during the run is named
    once (by every process that makes batches), and the next one stands in for it.
    """

    def __init__(self, photos: tuple[LabeledPhoto, ...], experiment: Experiment) -> None:
        """Deal out the photos of a run."""
        spec = experiment.spec
        self.photos, self.seed = photos, spec.random_seed
        self.augmentation = spec.augmentation_config
        self.epochs = spec.training_config.num_epochs
        self.count = self.whole_count = spec.training_config.batch_size_per_gpu
        names = experiment.dataset.class_names
        self.rasters = spec.bbox_rasterizer_config.rasters(names)
        self.deadzone = spec.bbox_rasterizer_config.deadzone_radius
        own = spec.cost_function_config.facekit.coverage_loss == "QUALITY_FOCAL"
        self.rules = coverage_rules(self.rasters, self.deadzone) if own else None
        self.whole = self.crop = self.augmentation.size_wh
        self.period = 0
        if self.augmentation.crop_wh:
            self.crop = self.augmentation.crop_wh
            self.period = self.augmentation.facekit.whole_frame_period
            share = self.crop[0] * self.crop[1] / (self.whole[0] * self.whole[1])
            self.whole_count = max(1, round(self.count * share))
        # The first step before which every photo was shown in every epoch.
        shown = self.epochs * len(photos)
        self.steps = bisect_left(range(shown + 1), shown, key=self.shown_before)
        self._gone: set[int] = set()
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        """Return the number of steps of the run."""
        return self.steps

    def is_whole(self, step: int) -> bool:
        """Return whether the batch of a step shows whole frames."""
        return self.crop == self.whole or (self.period > 0 and step % self.period == 0)

    def shown_before(self, step: int) -> int:
        """Return how many photos were shown before a step."""
        wholes = -(-step // self.period) if self.period > 0 else 0
        return wholes * self.whole_count + (step - wholes) * self.count

    def epochs_after(self, step: int) -> int:
        """Return how many epochs are over once a step is done, at most those of the run."""
        return min(self.shown_before(step + 1) // len(self.photos), self.epochs)

    def _number(self, place: int) -> int:
        """Return the number of the photo at a place of the whole run's order."""
        epoch, rank = divmod(place, len(self.photos))
        if self._order[0] != epoch:
            rng = step_rng(self.seed, epoch, _ORDER_STREAM)
            self._order = (epoch, rng.permutation(len(self.photos)))
        return int(self._order[1][rank])

    def _draw(self, rng: np.random.Generator, place: int, size_wh: tuple[int, int]) -> Frame:
        """Return the frame at a place of the run's order; raises DataError without any photo."""
        numbers = [self._number(place)]
        if rng.random() < self.augmentation.facekit.mosaic_probability:
            numbers += rng.integers(0, len(self.photos), size=3).tolist()
        while True:
            # The next photo stands in for one that has gone away.
            while lost := self._gone.intersection(numbers):
                numbers = [(k + 1) % len(self.photos) if k in lost else k for k in numbers]
            photos = tuple(self.photos[number] for number in numbers)
            try:
                return draw_frame(rng, photos, self.augmentation, size_wh)
            except DataError as error:
                lost = {k for k, photo in enumerate(self.photos) if photo.path == error.path}
                if not lost:
                    raise
                self._gone |= lost
                if len(self._gone) == len(self.photos):
                    raise
                LOGGER.warning("%s; others are shown in its place from here on", error)

    def _targets(self, frame: Frame) -> GridTargets:
        """Return the targets of a frame by the rule that goes with the spec's coverage loss."""
        face = frame.classes != IGNORED
        boxes, ignored = frame.boxes_xyxy[face], frame.boxes_xyxy[~face]
        classes = frame.classes[face]
        grid = (frame.image.height // GRID_STRIDE, frame.image.width // GRID_STRIDE)
        if self.rules is None:
            return build_tlt_targets(boxes, ignored, grid, classes, self.rasters, self.deadzone)
        return build_targets(boxes, ignored, grid, classes=classes, rules=self.rules)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step.

        It is ``image`` uint8 [n, 3, h, w], channels last in memory, and the grids of
        ``targets.GridTargets``, stacked.
        """
        rng = step_rng(self.seed, step)
        whole = self.is_whole(step)
        size = self.whole if whole else self.crop
        count = self.whole_count if whole else self.count
        first = self.shown_before(step)
        images, targets = [], []
        for place in range(first, first + count):
            frame = self._draw(rng, place, size)
            images.append(np.asarray(frame.image))
            targets.append(self._targets(frame))
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return {"image": image, **stack_targets(targets)}
