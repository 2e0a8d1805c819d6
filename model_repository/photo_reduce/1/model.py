"""Checks photos and decodes large ones smaller: see ``facekit.adapters.photo_reduce``."""

from facekit.adapters.photo_reduce import TritonPythonModel

__all__ = ["TritonPythonModel"]
