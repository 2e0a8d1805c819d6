"""Options that several commands of the detector have."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from training.arguments import positive

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


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, text: str = "") -> None:
    """Add ``-m``."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        required=required,
        help=text or "the network: a checkpoint, or an ONNX file",
    )
