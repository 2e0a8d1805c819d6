"""``train``: train as a spec says, or go on with a run."""

import argparse
import sys
from pathlib import Path

from facekit.cli import whole_number
from facekit.errors import DataError
from training.checkpoints import CHECKPOINT
from training.detector.files import add_experiment
from training.detector.recipe import DetectorRecipe
from training.experiment.data import read_kitti_config
from training.experiment.spec import Experiment, read_experiment
from training.loop import Machine, fit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    add_experiment(parser)
    parser.add_argument("-r", "--results", type=Path, required=True, help="folder of the run")
    parser.add_argument("-n", "--name", default="model", help="the final one is weights/NAME.pt")
    count = whole_number(0)
    parser.add_argument("--threads", type=count, default=0, help="of torch; 0: as many as it likes")
    parser.add_argument("--workers", type=count, default=1, help="processes that make batches")
    parser.add_argument("--device", help="cpu or cuda:N; by default cuda if there")


def run(options: argparse.Namespace) -> int:
    """Run the command; the photos that can't be used are named and left out."""
    spec = options.dataset_export_spec
    experiment = read_experiment(options.experiment, read_kitti_config(spec) if spec else None)
    machine = Machine(options.threads, options.workers, options.device)
    path = train(experiment, options.results, machine, options.name)
    sys.stdout.write(f"{path}\n")
    return 0


def train(experiment: Experiment, out: Path, machine: Machine, name: str = "model") -> Path:
    """Train as a spec says, or go on from the checkpoint in the output folder (``fit``).

    The folder also gets the networks that are kept, ``weights/*.pt``; the final one is
    ``weights/<name>.pt`` and is returned. Raises DataError if the photos or the pretrained network
    can't be used, or a class has no photo.
    """
    check_paths(experiment, resuming=(out / CHECKPOINT).exists())
    return fit(DetectorRecipe(experiment, name), out, machine)


def check_paths(experiment: Experiment, resuming: bool) -> None:
    """Raise DataError, with the spec's line, where something that it names is not there.

    A run that goes on (``resuming``) needs no pretrained network.
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
