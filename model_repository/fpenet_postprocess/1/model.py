"""Crop pixels back to photo pixels: see ``facekit.adapters.crop_points``."""

from facekit.adapters.crop_points import TritonPythonModel

__all__ = ["TritonPythonModel"]
