"""Grid decode and clustering: see ``facekit.adapters.detection_postprocess``."""

from facekit.adapters.detection_postprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
