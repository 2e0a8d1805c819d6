# mypy: allow-subclassing-any
"""The recipe of the open face network: its batches, its losses, and which photos it finds hard."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from training.detector.losses import LEAST_FACES, detection_loss
from training.detector.pretrained import to_unit
from training.detector.targets import decode, stack_targets
from training.devices import half_precision
from training.facenet.evaluate import calibration_figures
from training.facenet.frames import FrameMaker, class_weights, frame_targets
from training.facenet.network import FaceNetwork, exportable, load_weights
from training.facenet.photos import INDEX_FILE, Photos, build_index
from training.facesets import WEBFACE_FILE, read_webfaces
from training.loop import Run, StepResult, other_run, step_rng
from training.steps import StepOptions, StepRecipe

CROP, CROP_BATCH = (384, 224), 16
WHOLE, WHOLE_BATCH = (NETWORK_WIDTH, NETWORK_HEIGHT), 4
WHOLE_EVERY = 4
"""Every fourth step shows whole frames, the others crops, which cost a quarter."""
ROUND_STEPS = 1000
"""Steps after which the network is measured, and photos that it finds hard are shown more often."""
CLASS_WEIGHT = 2.0
"""Of the classes' loss against those of the coverage and the boxes."""
LOSS_NAMES = ("boxes", "covered", "box_weight", "coverage_weight")


@dataclass(frozen=True)
class FaceOptions(StepOptions):
    """Options of a run.

    ``cache`` is the folder of the decoded photos, by default ``photos`` in ``out``; ``start`` is a
    file of ``save_weights`` to begin with; ``classes`` are those that faces are told apart by.
    """

    steps: int = 25000
    warmup: int = 300
    cooldown: float = 0.45
    decay: float = 0.999
    cache: Path | None = None
    start: Path | None = None
    classes: tuple[str, ...] = ()


class Batches(Dataset[dict[str, Tensor]]):
    """Item k is the batch of step k."""

    def __init__(self, maker: FrameMaker, seed: int) -> None:
        self.maker, self.seed = maker, seed

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Return ``image`` uint8 [n, 1 or 3, h, w], the targets, and ``source`` int64 [n].

        The latter is the photo that a frame shows alone, or -1. Where classes are learned, there is
        ``class_weight`` too, float32 [n, classes, h, w].
        """
        rng = step_rng(self.seed, step)
        size, count = (WHOLE, WHOLE_BATCH) if step % WHOLE_EVERY == 0 else (CROP, CROP_BATCH)
        frames = [self.maker.draw(rng, size) for _ in range(count)]
        pixels = np.stack([np.atleast_3d(np.asarray(frame.image)) for frame in frames])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        sources = [frame.sources[0] if len(frame.sources) == 1 else -1 for frame in frames]
        targets = stack_targets([frame_targets(frame) for frame in frames])
        count = len(self.maker.classes)
        if count:
            weights = np.stack([class_weights(frame, count) for frame in frames])
            targets["class_weight"] = torch.from_numpy(weights)
        return {"image": images, "source": torch.tensor(sources), **targets}


def background_cost(logit: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return how much background of each frame is taken for a face, float [n].

    ``logit`` is the coverage before its sigmoid, float [n, 1, h, w], and so are the targets.
    """
    weight = batch["coverage_weight"].clamp(min=0) * (1 - batch["covered"])
    return (weight * torch.sigmoid(logit).square() * functional.softplus(logit)).sum((1, 2, 3))


def class_loss(told: Tensor, weight: Tensor) -> Tensor:
    """Return the cross entropy of the classes, a mean over the cells of faces whose class is known.

    Both are float [n, classes, h, w]: the classes before their softmax, and ``class_weights``.
    """
    cross = -(weight * functional.log_softmax(told, dim=1)).sum()
    return CLASS_WEIGHT * cross / weight.sum().clamp(min=LEAST_FACES)


class FaceRecipe(StepRecipe):
    """Trains the open face network, or one that tells classes of faces apart."""

    title = "Face network"
    figures_label = "calibration photos"

    def __init__(self, options: FaceOptions) -> None:
        super().__init__(options)
        self.classes = options.classes
        aps = (f"{name} AP50" for name in self.classes)
        self.figures = ("AP50", "AP40", "recall", *aps, "false boxes")
        self.cache = options.cache or options.out / "photos"
        self.start = options.start

    def check(self, path: Path, state: Mapping[str, Any]) -> None:
        """Check classes and seed of a checkpoint; the first ones had no classes."""
        found = tuple(state.get("classes", ()))
        if found != self.classes:
            names = (", ".join(classes) or "none" for classes in (found, self.classes))
            raise other_run(path, "classes", *names)
        super().check(path, state)

    def read(self) -> Batches:
        """Open the decoded photos, which are decoded once."""
        if not (self.cache / INDEX_FILE).exists():
            build_index(self.options.data, self.cache)
        self.photos = Photos(self.cache)
        # How often each photo is shown in this round, and in the next one as far as is known.
        self.shown = np.ones(len(self.photos.samples), np.float32)
        self.next_shown = self.shown.copy()
        path = self.options.data / WEBFACE_FILE
        web_faces = read_webfaces(path) if path.exists() else np.zeros((0, 36, 36), np.uint8)
        maker = FrameMaker(self.photos, self.shown, web_faces, self.classes)
        return Batches(maker, self.seed)

    def network(self, state: Mapping[str, Any] | None, device: torch.device) -> FaceNetwork:
        """Return the network to begin with, or to load a checkpoint into."""
        if self.start and state is None:
            return load_weights(self.start, self.classes)
        return FaceNetwork(self.classes)

    def step(self, model: FaceNetwork, step: int, batch: dict[str, Tensor]) -> StepResult:
        """Return the loss of a batch of ``Batches``."""
        with half_precision(batch["image"].device):
            bbox, logit, told = model.logits(to_unit(batch["image"]))
        parts = detection_loss(decode(bbox), logit, *(batch[name] for name in LOSS_NAMES))
        if told is not None:
            parts["class"] = class_loss(told, batch["class_weight"])
        costs = background_cost(logit.detach(), batch).tolist()
        for index, cost in zip(batch["source"].tolist(), costs, strict=True):
            if index >= 0:
                now = min(0.5 + 4.0 * cost, 4.0)
                self.next_shown[index] += 0.5 * (now - self.next_shown[index])
        return StepResult(torch.stack(list(parts.values())).sum(), parts)

    def epochs_after(self, steps: int) -> int:
        """Return how many rounds are over."""
        return steps // ROUND_STEPS

    def end_epoch(self, run: Run, before: int) -> dict[str, float]:
        """Measure the averaged network; from now on show more often what was hard."""
        self.shown[:] = self.next_shown
        run.stale = not run.last
        network = exportable(copy.deepcopy(run.kept))
        return calibration_figures(network, self.photos)

    def state(self, run: Run) -> dict[str, Any]:
        """Return the classes, and how often each photo is shown."""
        # Copies: these change while what is saved must not.
        return {
            "classes": list(self.classes),
            "shown": torch.from_numpy(self.shown.copy()),
            "next_shown": torch.from_numpy(self.next_shown.copy()),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Show each photo as often as the run did."""
        self.shown[:] = state["shown"].numpy()
        self.next_shown[:] = state["next_shown"].numpy()
