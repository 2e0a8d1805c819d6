"""Aligned face chips: every face upright by its eye line, at one size, as files of their own."""

from facekit.chips.geometry import (
    DegenerateFaceError,
    arcface_from_photo,
    chip_from_photo,
    cut_chip,
    eyes_center_xy,
    read_chip,
)
from facekit.chips.run import LISTING, ChipOptions, ChipSummary, SkippedFace, align_faces

__all__ = [
    "LISTING",
    "ChipOptions",
    "ChipSummary",
    "DegenerateFaceError",
    "SkippedFace",
    "align_faces",
    "arcface_from_photo",
    "chip_from_photo",
    "cut_chip",
    "eyes_center_xy",
    "read_chip",
]
