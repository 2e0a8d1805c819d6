"""The landmark order of FPENet: the part of the face of each index.

Indices are 0-based; right and left are the subject's, so the right eye is on the left of an upright
photo. Sources: NVIDIA's FPENet model card (which counts from 1 and starts the inner lips one point
late) and the iBUG 68-point scheme that it extends.

>>> groups(68)["right_eye"]
range(36, 42)
>>> sorted(set(groups(80)) - set(groups(68)))
['ears', 'pupils']
"""

from __future__ import annotations

from facekit.errors import ConfigError

POINT_COUNTS = (68, 80, 104)
"""Numbers of points of FPENet's versions."""

OUTER_EYE_CORNERS = (36, 45)
"""Outer corners of the right and left eye; errors are usually normalized by their distance."""

_GROUPS: dict[str, range] = {
    "jaw": range(0, 17),
    "right_eyebrow": range(17, 22),
    "left_eyebrow": range(22, 27),
    "nose": range(27, 36),
    "right_eye": range(36, 42),
    "left_eye": range(42, 48),
    "outer_mouth": range(48, 60),
    "inner_mouth": range(60, 68),
    "pupils": range(68, 76),
    "ears": range(76, 80),
    "extra_eyes": range(80, 104),
}
# Parts drawn as closed lines, and parts drawn as points only.
_CLOSED = frozenset({"right_eye", "left_eye", "outer_mouth", "inner_mouth"})
_LOOSE = frozenset({"pupils", "ears", "extra_eyes"})


def groups(point_count: int) -> dict[str, range]:
    """Return the parts of the face and their indices, in the order of the scheme.

    Raises:
        ConfigError: ``point_count`` is not 68, 80 or 104.
    """
    if point_count not in POINT_COUNTS:
        known = ", ".join(map(str, POINT_COUNTS))
        raise ConfigError(f"no landmark scheme has {point_count} points; known are {known}")
    return {name: span for name, span in _GROUPS.items() if span.stop <= point_count}


def point_names(point_count: int) -> tuple[str, ...]:
    """Return a name for each point: its part of the face, and its number in it from 1.

    >>> point_names(68)[36], len(set(point_names(104)))
    ('right_eye_1', 104)

    Raises:
        ConfigError: ``point_count`` is not 68, 80 or 104.
    """
    return tuple(
        f"{part}_{place}"
        for part, span in groups(point_count).items()
        for place in range(1, len(span) + 1)
    )


def skeleton(point_count: int) -> list[tuple[int, int]]:
    """Return the lines that draw a face, as pairs of indices.

    Raises:
        ConfigError: ``point_count`` is not 68, 80 or 104.
    """
    lines: list[tuple[int, int]] = []
    for name, span in groups(point_count).items():
        if name in _LOOSE:
            continue
        lines.extend(zip(span[:-1], span[1:], strict=True))
        if name in _CLOSED:
            lines.append((span[-1], span[0]))
        if name == "nose":
            # The bridge (27-30) and the nostrils (31-35) are separate lines.
            lines.remove((30, 31))
    return lines
