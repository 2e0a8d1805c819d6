"""The one-euro filter: steady points on a still face that do not lag behind a moving one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Casiez, Roussel, Vogel: 1 euro filter, CHI 2012, whose example has the first. The second is per
# height of the face and second: a face that moves by its height in a second is followed at 26 Hz,
# so that its points lag by 0.006 s. The speed is that of the middle of all points, which is steady
# as it is; the paper smooths the speed of a single one.
_LEAST_CUTOFF_HZ = 1.0
_CUTOFF_PER_SPEED = 25.0


class OneEuro:
    """The filter of one face's points."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self._points: Array | None = None
        self._middle: Array = np.zeros(2)

    def filter(self, time_s: float, points_xy: npt.ArrayLike, height_px: float) -> Array:
        """Return smoothed points.

        Args:
            time_s: Later than the last one's.
            points_xy: (K, 2) in pixels.
            height_px: Of the face, in whose heights its speed is measured.
        """
        points = np.asarray(points_xy, np.float64)
        step, self._time_s = time_s - self._time_s, time_s
        if self._points is None or step <= 0:
            self._points, self._middle = points, points.mean(axis=0)
            return points
        before, self._middle = self._middle, points.mean(axis=0)
        speed = math.hypot(*(self._middle - before)) / step / max(height_px, 1.0)
        share = _share(_LEAST_CUTOFF_HZ + _CUTOFF_PER_SPEED * speed, step)
        self._points = self._points + share * (points - self._points)
        return self._points


def _share(cutoff_hz: float, step_s: float) -> float:
    """Return the weight of a new value in a low pass of this cutoff."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))
