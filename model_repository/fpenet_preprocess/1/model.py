"""Face crops: see ``facekit.adapters.face_crops``."""

from facekit.adapters.face_crops import TritonPythonModel

__all__ = ["TritonPythonModel"]
