"""The one-euro filter: steady points on a still face that do not lag behind a moving one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Casiez, Roussel, Vogel: 1 euro filter, CHI 2012. The first and the last are that paper's; the
# second is per height of the face and second: a face that moves by its height in a second is
# followed at 15 Hz, which lags by a hundredth of a second.
_LEAST_CUTOFF_HZ = 1.0
_CUTOFF_PER_SPEED = 15.0
_SPEED_CUTOFF_HZ = 1.0


class OneEuro:
    """The filter of one face's points."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self._points: Array | None = None
        self._speeds: Array = np.zeros(0)

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
            self._points, self._speeds = points, np.zeros_like(points)
            return points
        speeds = (points - self._points) / step
        self._speeds = self._speeds + _share(_SPEED_CUTOFF_HZ, step) * (speeds - self._speeds)
        # The face moves as a whole: the speed of its middle opens the filter of all its points.
        speed = math.hypot(*self._speeds.mean(axis=0)) / max(height_px, 1.0)
        share = _share(_LEAST_CUTOFF_HZ + _CUTOFF_PER_SPEED * speed, step)
        self._points = self._points + share * (points - self._points)
        return self._points


def _share(cutoff_hz: float, step_s: float) -> float:
    """Return the weight of a new value in a low pass of this cutoff."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))
