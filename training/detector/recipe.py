"""The recipe of a spec: its network, photos, cost and optimizer, and what is due with an epoch."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekit.errors import DataError
from facekit.evaluation.class_scores import mean_average_precision
from training.detector.batches import Batches
from training.detector.evaluate import evaluate_network
from training.detector.frames import PhotoSet, read_photos
from training.detector.losses import CostFunction
from training.detector.network import DetectNet, Layout
from training.detector.pretrained import begin, freeze, to_unit
from training.detector.saved import SavedNetwork, check_kind, save_network
from training.detector.targets import decode
from training.devices import half_precision, place
from training.experiment.spec import Experiment
from training.experiment.training import SoftStartAnnealingSchedule
from training.loop import Recipe, Run, StepResult

LOGGER = logging.getLogger("training")
WEIGHTS_FOLDER = "weights"
UNFOLD_BATCHES = 4
"""Batches on which the statistics of folded batch norms are measured."""
LEAST_SHARE = 1e-9
"""Least rate as a share of the largest: 0 has no logarithm."""
FREE_TO_CHANGE = (
    "postprocessing_config.",
    "evaluation_config.",
    "training_config.num_epochs",
    "training_config.checkpoint_interval",
)
"""Fields of a spec that may differ when a run goes on: they do not change a step."""


class DetectorRecipe(Recipe):
    """Trains what a spec asks for; the final network is ``weights/<name>.pt``."""

    unit = "epoch"
    figures_label = "average precision"

    def __init__(self, experiment: Experiment, name: str = "model") -> None:
        self.experiment, self.name = experiment, name
        self.spec, self.names = experiment.spec, experiment.dataset.class_names
        self.config = self.spec.training_config
        self.seed = self.spec.random_seed
        self.average_decay = self.config.facekit.average_decay
        self.figures = ("mAP", *(f"AP {name}" for name in self.names))
        self.validation = PhotoSet((), ())
        self.frozen_norms: list[nn.Module] = []

    def check(self, path: Path, state: Mapping[str, Any]) -> None:
        """Check that the spec differs from that of a checkpoint in ``FREE_TO_CHANGE`` alone."""
        check_kind(path, state)
        wanted = fields_of(self.experiment)
        # The checkpoints of earlier versions had other names for the fields.
        known: Mapping[str, str] = state.get("fields", wanted)
        size_wh = list(self.spec.augmentation_config.size_wh)
        compared = [
            ("classes", state["classes"], list(self.names)),
            ("a frame of", [state["width"], state["height"]], size_wh),
            ("random_seed", state["seed"], self.seed),
            *(
                (name, known.get(name, "nothing"), wanted.get(name, "nothing"))
                for name in sorted(known.keys() | wanted.keys())
            ),
        ]
        differences = [f"{what} {found}, the spec {asked}" for what, found, asked in compared
                       if found != asked]  # fmt: skip
        if differences:
            listed = "; ".join(differences)
            reason = f"has {listed}: name another folder, or remove what is in this one"
            raise DataError(path, reason)

    def read(self) -> Batches:
        """Read the photos; those that can't be used are named and left out.

        Raises DataError if there are none, or none of a class.
        """
        dataset = self.experiment.dataset
        photos = read_photos(dataset, "training")
        if self.spec.evaluation_config.validation_period_during_training > 0:
            self.validation = read_photos(dataset, "validation")
        _log_photos("training", photos, self.names)
        _log_photos("validation", self.validation, self.names)
        check_classes_shown(self.experiment, photos)
        self.batches = Batches(photos.photos, self.experiment)
        self.steps = len(self.batches)
        return self.batches

    def network(self, state: Mapping[str, Any] | None, device: torch.device) -> DetectNet:
        """Return the network to begin with, or that of a checkpoint."""
        config = self.spec.network_config
        if state:
            model = place(DetectNet(Layout.from_dict(state["layout"])), device)
        else:
            count = min(UNFOLD_BATCHES, self.steps)
            images = (to_unit(self.batches[k]["image"].to(device)) for k in range(count))
            model = begin(config, self.names, device, images)
        self.cost = CostFunction(self.spec.cost_function_config, device)
        self.frozen_norms = freeze(model, config)
        self.title = f"{self.experiment.path.name}: {model.parameter_count():,} parameters"
        return model

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return Adam for what is not frozen."""
        adam = self.config.optimizer.adam
        return torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad],
            lr=self.config.schedule.min_learning_rate,
            betas=(adam.beta1, adam.beta2),
            eps=adam.epsilon,
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(step / max(self.steps - 1, 1), self.config.schedule)

    def train_mode(self, model: nn.Module) -> None:
        """Put all but the frozen batch norms into training mode."""
        model.train()
        for norm in self.frozen_norms:
            norm.eval()

    def step(self, model: DetectNet, step: int, batch: dict[str, Tensor]) -> StepResult:
        """Return the cost of a batch."""
        half = self.spec.network_config.training_precision.backend_floatx == "BFLOAT16"
        return StepResult(*self.cost(*predict(model, batch["image"], half), batch))

    def before_update(self, model: nn.Module) -> None:
        """Add the regularizer's derivative: as if the loss held its sum over the kernels."""
        kind, weight = self.config.regularizer.type, self.config.regularizer.weight
        if kind == "NO_REG" or weight == 0:
            return
        with torch.no_grad():
            for kernel in model.parameters():
                if kernel.grad is not None and kernel.requires_grad and kernel.ndim == 4:
                    kernel.grad.add_(kernel.sign() if kind == "L1" else 2 * kernel, alpha=weight)

    def epochs_after(self, steps: int) -> int:
        """Return how many epochs are over after so many steps."""
        return self.batches.epochs_after(steps - 1)

    def end_epoch(self, run: Run, before: int) -> dict[str, float]:
        """Measure and keep the network where it is time, and weigh the objectives anew."""
        rules, interval = self.spec.evaluation_config, self.config.checkpoint_interval
        period = rules.validation_period_during_training
        measured = run.last or falls_within(before, run.epoch, rules.first_epoch, period)
        figures: dict[str, float] = {}
        if measured and self.validation.photos:
            found = evaluate_network(run.kept, self.validation, self.experiment)
            self.train_mode(run.model)
            figures = {f"AP {score.name}": score.average_precision for score in found}
            figures = {"mAP": mean_average_precision(found), **figures}
        self.cost.end_epoch()
        if falls_within(before, run.epoch, interval, interval) and not run.last:
            self._keep(run, f"epoch-{run.epoch:03d}")
        return figures

    def _keep(self, run: Run, name: str) -> Path:
        """Write the network by itself and return its file."""
        path = run.out / WEIGHTS_FOLDER / f"{name}.pt"
        save_network(path, self._saved(run))
        return path

    def _saved(self, run: Run) -> SavedNetwork:
        weights = {name: value.detach().cpu() for name, value in run.kept.state_dict().items()}
        size_wh = self.spec.augmentation_config.size_wh
        return SavedNetwork(
            run.model.layout, self.names, size_wh, weights, False, run.epoch, run.done, self.seed
        )

    def remedy(self, run: Run) -> str:
        """Return what a loss that is not a number comes from, and what to do."""
        spec = self.experiment.path
        if run.done == 0:
            start = self.spec.network_config.pretrained or "as initialized"
            return f"so the network that {spec} begins with gives none ({start})"
        saved = f"; {run.path} is from before" if run.path.exists() else ""
        return f"the network has diverged: lower max_learning_rate of {spec}{saved}"

    def state(self, run: Run) -> dict[str, Any]:
        """Return what the checkpoint of a run holds beside weights and steps."""
        return {
            **self._saved(run).header(),
            "cost": self.cost.state(),
            "spec": self.experiment.text,
            "fields": fields_of(self.experiment),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up the weights of the objectives."""
        self.cost.load(state["cost"])

    def finish(self, run: Run) -> Path:
        """Write the final network and return its file."""
        return self._keep(run, self.name)


def predict(model: DetectNet, image: Tensor, half: bool) -> tuple[Tensor, Tensor]:
    """Return the corners and the coverage before its sigmoid that the losses compare.

    From uint8 [n, 3, h, w] on the network's device, float32 [n, C, 4, h/16, w/16] in frame pixels
    and float32 [n, C, h/16, w/16]; ``half`` computes in bfloat16 where the layers allow it.
    """
    with half_precision(image.device, half):
        bbox, coverage = model.logits(to_unit(image))
    return decode(bbox), coverage


def learning_rate(progress: float, schedule: SoftStartAnnealingSchedule) -> float:
    """Return the rate of TLT's soft-start annealing schedule when a share of the run is over.

    It rises from the least to the largest rate, stays, and falls back; both ramps are straight
    lines of the logarithm (``get_softstart_annealing_learning_rate`` of tao_tensorflow1_backend).
    """
    largest = schedule.max_learning_rate
    if progress < schedule.soft_start:
        share = progress / schedule.soft_start
    elif progress > schedule.annealing:
        share = (1.0 - progress) / max(1.0 - schedule.annealing, 1e-9)
    else:
        return largest
    low = math.log(max(schedule.min_learning_rate, LEAST_SHARE * largest))
    return math.exp(low + share * (math.log(largest) - low))


def falls_within(before: int, now: int, first: int, period: int) -> bool:
    """Return whether one of the epochs ``first + k * period`` came after ``before``, by ``now``."""
    if period <= 0 or now < first:
        return False
    return before < now - (now - first) % period


def fields_of(experiment: Experiment) -> dict[str, str]:
    """Return what a run's steps depend on, by dotted name, as text for a checkpoint."""
    found: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(f"{name}.{key}" if name else key, inner)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            for index, inner in enumerate(value):
                add(f"{name}[{index}]", inner)
        else:
            found[name] = str(value)

    add("", experiment.spec.model_dump(by_alias=True, exclude={"dataset_config", "random_seed"}))
    add("dataset", asdict(experiment.dataset))
    return {
        name: value
        for name, value in found.items()
        if not name.startswith(FREE_TO_CHANGE) and not name.endswith(".line")
    }


def check_classes_shown(experiment: Experiment, photos: PhotoSet) -> None:
    """Raise DataError, with the spec's line that maps names to it, for a class without a photo."""
    dataset, others = experiment.dataset, photos.unmapped
    config = experiment.spec.dataset_config
    counts = photos.faces(len(dataset.class_names))
    for name, count in zip(dataset.class_names, counts, strict=True):
        if count:
            continue
        sought = [key for key, value in config.target_class_mapping.items() if value == name]
        lower = {other.lower(): other for other in others}
        close = [m for key in sought for m in get_close_matches(key.lower(), lower, n=1)]
        reason = f"no training photo has class {name!r}: no label is {' or '.join(sought)}"
        if close:
            reason += f"; did you mean {lower[close[0]]!r}?"
        elif others:
            reason += f"; the labels also have {', '.join(sorted(others))}"
        line = config.line_of("target_class_mapping", sought[0])
        raise DataError(experiment.path, reason, line)


def _log_photos(title: str, part: PhotoSet, names: tuple[str, ...]) -> None:
    """Log how many photos and faces there are, and what was left out."""
    if not part.photos:
        return
    once = replace(part, photos=tuple({id(photo): photo for photo in part.photos}.values()))
    unique, shown = len(once.photos), len(part.photos)
    twice = "twice" if shown == 2 * unique else "more than once"
    repeated = f" (listed {twice}: {shown} shown an epoch)" if shown > unique else ""
    counts = zip(names, once.faces(len(names)), strict=True)
    LOGGER.info(
        "%s: %d photos%s with %s%s%s",
        title,
        unique,
        repeated,
        ", ".join(f"{count} {name}" for name, count in counts),
        "".join(f", {n} {name} ignored" for name, n in sorted(part.unmapped.items())),
        f"; problems, named above: {len(part.problems)}" if part.problems else "",
    )
