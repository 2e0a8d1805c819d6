"""``train``: train as a spec says, or go on with a run."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from training.arguments import whole_number
from training.detector.batches import Batches
from training.detector.frames import PhotoSet, read_photos
from training.detector.options import add_key, say_key_unused
from training.detector.run import Run, RunOptions
from training.devices import choose_device
from training.experiment.kitti import read_kitti_config
from training.experiment.reader import read_experiment
from training.experiment.settings import Experiment

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
        DataError: The photos, the pretrained network or the checkpoint can't be used.
        ConfigError: There is no such device.
        FacekitError: The loss is no longer a number.
    """
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
    for name, count in zip(names, photos.faces(len(names)), strict=True):
        if count == 0:
            LOGGER.warning("%s: no training photo has a %s", experiment.path, name)
    run = Run(experiment, options, device, Batches(photos.photos, experiment), validation)
    run.go()
    return run.finish()


def _describe(title: str, part: PhotoSet, names: tuple[str, ...]) -> None:
    """Say how many photos and faces there are, and what was left out."""
    if not part.photos:
        return
    counts = zip(names, part.faces(len(names)), strict=True)
    LOGGER.info(
        "%s: %d photos with %s%s%s",
        title,
        len(part.photos),
        ", ".join(f"{count} {name}" for name, count in counts),
        "".join(f", {n} {name} ignored" for name, n in sorted(part.unmapped.items())),
        f"; problems, named above: {len(part.problems)}" if part.problems else "",
    )
