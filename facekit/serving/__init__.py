"""Serving the model repository: with the Triton of a wheel, or with that of a container."""

from facekit.serving.embedded import EmbeddedServer
from facekit.serving.stock import StockServer

__all__ = ["EmbeddedServer", "StockServer"]
