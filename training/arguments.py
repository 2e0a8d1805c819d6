"""Options that several commands have."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from facekit.cli import whole_number

LOGGER = logging.getLogger("training")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the options of a spec: ``-e``, and ``-d`` for TLT's tfrecords spec."""
    parser.add_argument("-e", "--experiment", type=Path, required=True, help="the spec")
    parser.add_argument(
        "-d",
        "--dataset_export_spec",
        type=Path,
        help="a tfrecords spec: names of the folders, and how the photos are split",
    )


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add ``-k``, which TLT's commands need and these do not."""
    parser.add_argument("-k", "--key", help="TLT's key to its files; unused: none are encrypted")


def warn_unused_key(options: argparse.Namespace) -> None:
    """Warn where ``-k`` was given."""
    if options.key is not None:
        LOGGER.warning("-k is unused: nothing here is encrypted")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads", type=whole_number(1), default=1, help="of the network (default: 1)"
    )


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, text: str = "") -> None:
    """Add ``-m``."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        required=required,
        help=text or "the network: a checkpoint, or an ONNX file",
    )
