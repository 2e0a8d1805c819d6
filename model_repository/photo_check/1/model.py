"""Checks photos before they are decoded: see ``facekit.adapters.photo_check``."""

from facekit.adapters.photo_check import TritonPythonModel

__all__ = ["TritonPythonModel"]
