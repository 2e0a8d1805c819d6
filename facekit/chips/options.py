"""How chips are made."""

from __future__ import annotations

from dataclasses import dataclass

from facekit.chips.geometry import MARGIN
from facekit.errors import ConfigError

FORMATS = {"jpg": ".jpg", "png": ".png"}
"""Formats and their suffixes."""
SIZES = (16, 2048)
"""Smallest and largest side of a chip in pixels."""
_LARGEST_MARGIN = 5.0


@dataclass(frozen=True)
class ChipOptions:
    """How chips are made.

    Attributes:
        size: Side in pixels.
        margin: Around the landmarks, as a part of the side of the square that they fill.
        format: ``jpg`` or ``png``.
        min_score: Faces of a lower score get no chip.
        min_size: Nor do those whose box has a side of fewer pixels.
        jobs: Photos that are worked on at a time; 0 for as many as there are processors.
    """

    size: int = 256
    margin: float = MARGIN
    format: str = "jpg"
    min_score: float = 0.0
    min_size: float = 0.0
    jobs: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: One is out of its range.
        """
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise ConfigError(f"size: expected {SIZES[0]} to {SIZES[1]} pixels, got {self.size}")
        if not 0 <= self.margin <= _LARGEST_MARGIN:
            raise ConfigError(f"margin: expected 0 to {_LARGEST_MARGIN:g}, got {self.margin}")
        if self.format not in FORMATS:
            raise ConfigError(f"format: expected {' or '.join(FORMATS)}, got {self.format}")
        if self.jobs < 0:
            raise ConfigError(f"jobs: expected 0 or more, got {self.jobs}")
