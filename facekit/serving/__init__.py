"""Serving the model repository with the Triton server of the ``nvidia-pytriton`` wheel."""

from __future__ import annotations

from facekit.serving.embedded import EmbeddedServer

__all__ = ["EmbeddedServer"]
