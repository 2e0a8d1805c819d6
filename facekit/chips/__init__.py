"""Aligned face chips: every face upright by its eye line, at one size, as files of their own."""

from facekit.chips.cut import cut_chip, read_chip
from facekit.chips.geometry import DegenerateFaceError, chip_from_photo, eyes_center_xy
from facekit.chips.options import ChipOptions
from facekit.chips.run import LISTING, ChipSummary, LeftOut, align_faces

__all__ = [
    "LISTING",
    "ChipOptions",
    "ChipSummary",
    "DegenerateFaceError",
    "LeftOut",
    "align_faces",
    "chip_from_photo",
    "cut_chip",
    "eyes_center_xy",
    "read_chip",
]
