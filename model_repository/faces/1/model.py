"""Boxes and landmarks in one call: see ``facekit.adapters.faces``."""

from facekit.adapters.faces import TritonPythonModel

__all__ = ["TritonPythonModel"]
