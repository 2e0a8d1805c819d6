"""``train``: train as a spec says, or go on with a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from facekit.cli import whole_number
from facekit.errors import DataError
from training.arguments import add_experiment, add_key, warn_unused_key
from training.checkpoints import CHECKPOINT
from training.detector.recipe import DetectorRecipe
from training.experiment.data import read_kitti_config
from training.experiment.spec import Experiment, read_experiment
from training.loop import Machine, fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    add_experiment(parser)
    parser.add_argument("-r", "--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("-n", "--name", default="model", help="the final one is weights/NAME.pt")
    parser.add_argument(
        "--threads", type=whole_number(0), default=0, help="of torch; 0: as many as it likes"
    )
    parser.add_argument(
        "--workers", type=whole_number(0), default=1, help="processes that make batches"
    )
    parser.add_argument("--device", help="cpu or cuda:N; by default cuda if there")
    add_key(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; the photos that can't be used are named and left out."""
    warn_unused_key(options)
    spec = options.dataset_export_spec
    experiment = read_experiment(options.experiment, read_kitti_config(spec) if spec else None)
    machine = Machine(options.threads, options.workers, options.device)
    path = train(experiment, options.results, machine, options.name)
    sys.stdout.write(f"{path}\n")
    return 0


def train(experiment: Experiment, out: Path, machine: Machine, name: str = "model") -> Path:
    """Train as a spec says, or go on from the checkpoint in the output folder.

    Args:
        experiment: The spec.
        out: Folder of the run: ``checkpoint.pt``, ``metrics.jsonl``, ``metrics.png`` and the
            networks that are kept, ``weights/*.pt``.
        machine: Threads, processes and device.
        name: Name of the final network, ``weights/<name>.pt``.

    Returns:
        The final network.

    Raises:
        DataError: The photos, the pretrained network or the checkpoint can't be used; a class has
            no photo; the output folder can't be written to, or another run is filling it.
        ConfigError: There is no such device.
        FacekitError: The loss is no longer a number.
    """
    check_paths(experiment, resuming=(out / CHECKPOINT).exists())
    return fit(DetectorRecipe(experiment, name), out, machine)


def check_paths(experiment: Experiment, resuming: bool) -> None:
    """Check that what a spec names is there, before the photos are loaded.

    Args:
        experiment: The spec.
        resuming: A run goes on, which needs no pretrained network.

    Raises:
        DataError: It is not; names the line of the spec.
    """
    dataset, config = experiment.dataset, experiment.spec.network_config
    measures = experiment.spec.evaluation_config.validation_period_during_training > 0
    parts = {
        "data_sources": dataset.training,
        "validation_data_source": dataset.validation if measures else (),
    }
    for field, sources in parts.items():
        for source in sources:
            for folder in (source.image_folder, source.label_folder):
                if not folder.is_dir():
                    reason = f"image_directory_path of {field}: {folder}: no such folder"
                    raise DataError(experiment.path, reason, source.line)
    if not resuming and config.pretrained is not None and not config.pretrained.is_file():
        line = config.line_of("pretrained_model_file")
        reason = f"pretrained_model_file: {config.pretrained}: no such file"
        raise DataError(experiment.path, reason, line)
