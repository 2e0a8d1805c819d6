"""``train``: train as a spec says, or go on with a run."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import torch

from facekit.errors import DataError
from facekit.files import FolderLock
from training.arguments import whole_number
from training.detector.batches import Batches
from training.detector.frames import PhotoSet, read_photos
from training.detector.options import add_key, say_key_unused
from training.detector.run import Run, RunOptions
from training.devices import choose_device
from training.experiment.kitti import read_kitti_config
from training.experiment.reader import read_experiment
from training.experiment.settings import Experiment
from training.runs import CHECKPOINT

LOGGER = logging.getLogger("training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    parser.add_argument("-e", "--experiment", type=Path, required=True, help="the spec")
    parser.add_argument("-r", "--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("-n", "--name", default="model", help="the final one is weights/NAME.pt")
    parser.add_argument(
        "-d",
        "--dataset_export_spec",
        type=Path,
        help="a tfrecords spec: names of the folders, and how the photos are split",
    )
    parser.add_argument(
        "--threads", type=whole_number, default=0, help="of torch; 0: as many as it likes"
    )
    parser.add_argument(
        "--workers", type=whole_number, default=1, help="processes that make batches"
    )
    parser.add_argument("--device", help="cpu or cuda:N; by default cuda if there")
    add_key(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; the photos that can't be used are named and left out."""
    say_key_unused(options)
    spec = options.dataset_export_spec
    experiment = read_experiment(options.experiment, read_kitti_config(spec) if spec else None)
    path = train(
        experiment,
        RunOptions(options.results, options.name, options.threads, options.workers, options.device),
    )
    sys.stdout.write(f"{path}\n")
    return 0


def train(experiment: Experiment, options: RunOptions) -> Path:
    """Train as a spec says, or go on from the checkpoint in the output folder.

    Returns:
        The final network.

    Raises:
        DataError: The photos, the pretrained network or the checkpoint can't be used; a class has
            no photo; the output folder can't be written to, or another run is filling it.
        ConfigError: There is no such device.
        FacekitError: The loss is no longer a number.
    """
    check_paths(experiment, resuming=(options.out / CHECKPOINT).exists())
    with FolderLock(options.out):
        return _train(experiment, options)


def check_paths(experiment: Experiment, resuming: bool) -> None:
    """Check that what a spec names is there, before the photos are loaded.

    Args:
        experiment: The spec.
        resuming: A run goes on, which needs no pretrained network.

    Raises:
        DataError: It is not; names the line of the spec.
    """
    dataset, pretrained = experiment.dataset, experiment.model.pretrained
    measured = dataset.validation if experiment.evaluation.period > 0 else ()
    for field, sources in (
        ("data_sources", dataset.training),
        ("validation_data_source", measured),
    ):
        for source in sources:
            for folder in (source.image_folder, source.label_folder):
                if not folder.is_dir():
                    line = experiment.lines.get(str(folder.parent))
                    reason = f"image_directory_path of {field}: {folder}: no such folder"
                    raise DataError(experiment.path, reason, line)
    if not resuming and pretrained is not None and not pretrained.is_file():
        line = experiment.lines.get(str(pretrained))
        raise DataError(experiment.path, f"pretrained_model_file: {pretrained}: no such file", line)


def _train(experiment: Experiment, options: RunOptions) -> Path:
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    photos = read_photos(experiment.dataset, "training")
    validation = PhotoSet((), ())
    if experiment.evaluation.period > 0:
        validation = read_photos(experiment.dataset, "validation")
    names = experiment.dataset.class_names
    _describe("training", photos, names)
    _describe("validation", validation, names)
    check_classes_shown(experiment, photos)
    run = Run(experiment, options, device, Batches(photos.photos, experiment), validation)
    run.go()
    return run.finish()


def check_classes_shown(experiment: Experiment, photos: PhotoSet) -> None:
    """Check that there is something to learn of every class.

    Raises:
        DataError: No photo has a class; names the line of the spec that maps names to it.
    """
    dataset, others = experiment.dataset, photos.unmapped
    counts = photos.faces(len(dataset.class_names))
    for name, count in zip(dataset.class_names, counts, strict=True):
        if count:
            continue
        sought = [key for key, value in dataset.class_of.items() if value == name]
        lower = {other.lower(): other for other in others}
        close = [match for key in sought for match in get_close_matches(key, lower, n=1)]
        reason = f"no training photo has class {name!r}: no label is {' or '.join(sought)}"
        if close:
            reason += f"; did you mean {lower[close[0]]!r}?"
        elif others:
            reason += f"; the labels also have {', '.join(sorted(others))}"
        raise DataError(experiment.path, reason, experiment.lines.get(f"class {name}"))


def _describe(title: str, part: PhotoSet, names: tuple[str, ...]) -> None:
    """Say how many photos and faces there are, and what was left out."""
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
