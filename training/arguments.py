"""What numbers on the trainers' command lines may be: types of argparse."""

from __future__ import annotations

import argparse
import math


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
