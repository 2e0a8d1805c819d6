"""Every error of a conversion.

::

    FacekitError
    `-- ConversionError
        |-- CatalogError      a stanza of models.yaml, or a choice of weights, is wrong
        |-- ReleaseError      these weights don't fit this TensorRT or this machine
        |-- FetchError        a file could not be had; says which, from where, and what to do
        |-- BuildError        a tool made no engine that loads
        `-- LockedError       another converter works on the same repository
"""

from __future__ import annotations

from facekit.errors import FacekitError


class ConversionError(FacekitError):
    """Root of all errors of a conversion."""


class CatalogError(ConversionError):
    """A stanza of ``models.yaml``, or a choice of weights, is wrong."""


class ReleaseError(ConversionError):
    """These weights can't be built or run with this TensorRT, or on this kind of machine."""


class FetchError(ConversionError):
    """A file could not be had; the message says which, from where, and what to do."""


class BuildError(ConversionError):
    """A tool made no engine, or one that does not load."""


class LockedError(ConversionError):
    """Another converter works on the same repository."""
