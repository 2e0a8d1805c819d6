"""Options that several commands have, and what numbers on a command line may be."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

LOGGER = logging.getLogger("training")


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    return _whole(text, 1)


def whole_number(text: str) -> int:
    """Read a whole number of 0 or more."""
    return _whole(text, 0)


def positive_number(text: str) -> float:
    """Read a number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


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
    parser.add_argument("--threads", type=positive, default=1, help="of the network (default: 1)")


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, text: str = "") -> None:
    """Add ``-m``."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        required=required,
        help=text or "the network: a checkpoint, or an ONNX file",
    )
