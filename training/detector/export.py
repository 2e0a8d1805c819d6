"""``export``: write a network as an ONNX file for the model repository, in float32 or INT8."""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from facekit.cli import whole_number
from facekit.contract import GRID_STRIDE
from facekit.errors import ConfigError, writing
from facekit.files import write_whole
from training.detector.files import add_model, read_network
from training.detector.inference import CLASSES_KEY
from training.detector.network import BBOX_NAME, COVERAGE_NAME, INPUT_NAME
from training.detector.saved import SavedNetwork
from training.export import LABEL_FILE, check_served, served_labels, write_onnx

BATCHES = 10
BATCH_SIZE = 16
"""TLT's default number of calibration photos is the product."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; their names are TLT's where it has them."""
    add_model(parser)
    parser.add_argument("-o", "--output_file", type=Path, required=True, help="the ONNX file")
    parser.add_argument(
        "--label_file",
        type=Path,
        help=f"names of the classes, a line each (default: {LABEL_FILE} beside the ONNX file; "
        "none in a model repository, whose postprocess model has one)",
    )
    parser.add_argument("--data_type", choices=("fp32", "int8"), default="fp32")
    parser.add_argument(
        "--cal_image_dir", type=Path, help="photos to calibrate INT8 by, such as those trained on"
    )
    for name, default, text in (
        ("--batches", BATCHES, "calibration batches"),
        ("--batch_size", BATCH_SIZE, "photos a batch"),
    ):
        kind = whole_number(1)
        parser.add_argument(name, type=kind, default=default, help=f"{text} ({default})")
    parser.add_argument(
        "--gray", action="store_true", help="calibrate with gray photos, as for a gray network"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises ConfigError for INT8 without photos to calibrate by, and DataError if the network or the
    folder of photos can't be used, a file can't be written, or the network does not fit the model
    repository that it lies in.
    """
    if options.data_type == "int8" and options.cal_image_dir is None:
        raise ConfigError("--data_type int8 needs --cal_image_dir, a folder of photos")
    network = read_network(options.model)
    path: Path = options.output_file
    (width, height), count = network.size_wh, len(network.classes)
    grid = (height // GRID_STRIDE, width // GRID_STRIDE)
    outputs = {BBOX_NAME: (4 * count, *grid), COVERAGE_NAME: (count, *grid)}
    check_served(path, {INPUT_NAME: (3, height, width)}, outputs, network.classes)
    if options.data_type == "fp32":
        text = f"differs from torch by at most {export(network, path):.1e}"
    else:
        from training.detector.quantize import quantize

        photos = options.batches * options.batch_size
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "float32.onnx"
            export(network, plain)
            used = quantize(
                plain, path, options.cal_image_dir, photos, network.size_wh, gray=options.gray
            )
        text = f"INT8, calibrated with {used} photos"
    sys.stdout.write(f"{path}: {text}\n")
    served = served_labels(path)
    labels = options.label_file or served or path.with_name(LABEL_FILE)
    if options.label_file or served is None:
        with writing(labels):
            write_whole(labels, "".join(f"{name}\n" for name in network.classes))
    sys.stdout.write(f"{labels}: {', '.join(network.classes)}\n")
    return 0


def export(network: SavedNetwork, path: Path) -> float:
    """Write a network as an ONNX file in float32; see ``write_onnx`` for what is returned."""
    width, height = network.size_wh
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    model = network.build()
    return write_onnx(
        model,
        example,
        path,
        INPUT_NAME,
        (BBOX_NAME, COVERAGE_NAME),
        f"DetectNet_v2 of facekit for {', '.join(network.classes)}, RGB in 0..1.",
        {
            CLASSES_KEY: ",".join(network.classes),
            "parameters": str(model.parameter_count()),
            "epoch": str(network.epoch),
            "step": str(network.step),
            "seed": str(network.seed),
        },
    )
