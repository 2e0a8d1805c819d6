"""What a bench measures, and for how long; it imports nothing that takes time to load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facekit.bench.photos import PhotoSet

SECTIONS = (
    "throughput",
    "bound",
    "beside",
    "seed",
    "postprocess",
    "batching",
    "annotate",
    "memory",
)
LONG_SECTIONS = ("folder_memory",)
"""Measured only when they are asked for: minutes on end."""
PHOTO_SIZES = ((1280, 720), (1920, 1080), (4032, 3024))
FACES = 8


@dataclass(frozen=True)
class Options:
    """What to measure, and for how long.

    Attributes:
        photo_sets: Photos that are measured together; the sweep uses the first set.
        repository: The server's models, for the bound and for hashes.
        seconds: Length of one measurement; those in turns take half of it each.
        concurrency: Requests at a time, one measurement each.
        soak: Requests of the memory measurement.
        only: The sections to measure.
        annotated: Photos of the folder that ``annotate`` is measured on.
        beside: ``host:port`` of another server to hold this one against; None for none.
    """

    photo_sets: tuple[PhotoSet, ...]
    repository: Path
    seconds: float = 3.0
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    soak: int = 5000
    only: tuple[str, ...] = field(default=SECTIONS)
    beside: str | None = None
    annotated: int = 300
