"""How a photo is searched: the request parameters ``tiles``, ``rotations`` and ``threshold``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from facekit.errors import ConfigError, InputError

MAX_TILES = 64
"""Tiles of one photo: 64 frames of the network are 1.4 s of one core."""

MAX_FRAMES = 1024
"""Frames that one request may ask for, of all its photos: about 22 s of one core."""

AUTO_TILES = (4, 16)
"""Tiles of the two steps of ``auto``; each is taken only if the one before gives a reason."""

MIN_THRESHOLD = 0.05
"""Least score that a request may ask for: with it the open ``facenet`` has 0.7 to 1.5 boxes a photo
that are on no face, on 428 calibration photos."""

ROTATIONS_DEG = (90, 180, 270)
"""Angles by which a face may be turned, clockwise as seen, as in ``Face.rotation_deg``."""


@dataclass(frozen=True)
class Search:
    """What is looked at besides the whole upright photo.

    Attributes:
        tile_counts: Most tiles of each step; () for none.
        adaptive_tiles: Whether a step depends on what was found before.
        rotations_deg: Angles of ``ROTATIONS_DEG`` by which the photo is turned back.
        adaptive_rotations: Whether it is turned only where little is found upright.
        threshold: See :func:`read_threshold`.
    """

    tile_counts: tuple[int, ...] = ()
    adaptive_tiles: bool = False
    rotations_deg: tuple[int, ...] = ()
    adaptive_rotations: bool = False
    threshold: float | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, object]) -> Search:
        """Read the parameters of a request; others than those three are ignored.

        Raises:
            InputError: A value is not one of those that are accepted.
        """
        tiles = str(parameters.get("tiles", "off"))
        rotations = str(parameters.get("rotations", "off"))
        return cls(
            _tile_counts(tiles),
            tiles == "auto",
            _rotations_deg(rotations),
            rotations == "auto",
            read_threshold(parameters),
        )

    def check_photos(self, count: int) -> None:
        """Raise InputError if so many photos of one request may take too many frames."""
        angles = 1 + len(self.rotations_deg)
        # Of an adaptive choice one angle is searched in tiles.
        frames = angles + sum(self.tile_counts) * (1 if self.adaptive_rotations else angles)
        if count * frames > MAX_FRAMES:
            raise InputError(
                f"tiles, rotations: {count} photos of up to {frames} frames each; the limit of one "
                f"request is {MAX_FRAMES:,} frames, so send at most {MAX_FRAMES // frames} photos"
            )


def read_threshold(parameters: Mapping[str, object]) -> float | None:
    """Return the least score that a request asks for; None for that of the configuration.

    Raises:
        InputError: It is not a number from ``MIN_THRESHOLD`` to 1.
    """
    text = parameters.get("threshold")
    if text is None:
        return None
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not MIN_THRESHOLD <= value <= 1:
        raise InputError(f"threshold: expected a number from {MIN_THRESHOLD} to 1, got {text!r}")
    return value


def search_parameters(
    tiles: str | int | None = None,
    rotations: str | int | None = None,
    threshold: float | None = None,
) -> dict[str, str]:
    """Return the parameters of a request; None leaves the choice to the server.

    Raises:
        ConfigError: A value is not one of those that are accepted.
    """
    given = {"tiles": tiles, "rotations": rotations, "threshold": threshold}
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    try:
        Search.parse(parameters)
    except InputError as error:
        raise ConfigError(str(error)) from error
    return parameters


def _tile_counts(text: str) -> tuple[int, ...]:
    if text == "off":
        return ()
    if text == "auto":
        return AUTO_TILES
    if text.isascii() and text.isdigit() and len(text) < 4 and 2 <= int(text) <= MAX_TILES:
        return (int(text),)
    raise InputError(f"tiles: expected off, auto or a number from 2 to {MAX_TILES}, got {text!r}")


def _rotations_deg(text: str) -> tuple[int, ...]:
    if text == "off":
        return ()
    if text == "auto":
        return ROTATIONS_DEG
    angles = {str(angle): angle for angle in ROTATIONS_DEG}
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(angles):
        raise InputError(
            f"rotations: expected off, auto, or some of {', '.join(angles)} with commas between "
            f"them, got {text!r}"
        )
    return tuple(angle for name, angle in angles.items() if name in names)
