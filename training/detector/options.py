"""Options that several commands of the detector have."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

LOGGER = logging.getLogger("training")


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add ``-k``, which TLT's commands need and these do not."""
    parser.add_argument("-k", "--key", help="TLT's key to its files; unused: none are encrypted")


def say_key_unused(options: argparse.Namespace) -> None:
    """Say so where ``-k`` was given."""
    if options.key is not None:
        LOGGER.warning("-k is unused: nothing here is encrypted")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument("--threads", type=positive, default=1, help="of the network (default: 1)")


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, text: str = "") -> None:
    """Add ``-m``."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        required=required,
        help=text or "the network: a checkpoint, or an ONNX file",
    )
