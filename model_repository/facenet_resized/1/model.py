"""Detection on preprocessed pictures: see ``facekit.adapters.facenet_resized``."""

from facekit.adapters.facenet_resized import TritonPythonModel

__all__ = ["TritonPythonModel"]
