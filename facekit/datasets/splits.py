"""Which photo belongs to which split, decided by its name alone."""

from __future__ import annotations

import hashlib

EVALUATION_MODULUS = 7
CALIBRATION_MODULUS = 14


def stem_number(stem: str) -> int:
    """Return the SHA-1 of a file stem, read as one big integer.

    A file's name may be any bytes; Python keeps those that are no UTF-8 as surrogates.
    """
    data = stem.encode("utf-8", "surrogateescape")
    return int(hashlib.sha1(data, usedforsecurity=False).hexdigest(), 16)


def is_evaluation(stem: str) -> bool:
    """Tell whether a photo is for evaluation only: one in seven."""
    return stem_number(stem) % EVALUATION_MODULUS == 0


def is_calibration(stem: str) -> bool:
    """Tell whether a photo is held out of training to tune thresholds: one in fourteen.

    Never true for an evaluation photo.
    """
    return stem_number(stem) % CALIBRATION_MODULUS == 1


def split_of(stem: str) -> str:
    """Return ``"evaluation"``, ``"calibration"`` or ``"training"`` for a file stem."""
    if is_evaluation(stem):
        return "evaluation"
    return "calibration" if is_calibration(stem) else "training"
