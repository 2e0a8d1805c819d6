"""Landmarks of the caller's own boxes: see ``facekit.adapters.landmarks``."""

from facekit.adapters.landmarks import TritonPythonModel

__all__ = ["TritonPythonModel"]
