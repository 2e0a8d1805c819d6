"""Give each face a number that it keeps from frame to frame.

ByteTrack (Zhang et al., ECCV 2022): the boxes that each track expects are matched to those found,
first to the sure ones, and those of the tracks that remain to the doubtful ones. It is written out
here because `supervision` has dropped its own and `trackers` needs NumPy 2, which the embedded
server's environment can't have; and because frames may be any time apart here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from facekit.evaluation.average_precision import iou_matrix

Array = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

SURE_SCORE = 0.5
"""Faces from this score on begin tracks; those below only continue them."""
LEAST_IOU_SURE, LEAST_IOU_DOUBTFUL = 0.1, 0.5
"""Overlaps of the expected box with a found one, at least; `trackers` has the first, ByteTrack's
authors the second."""
LOST_AFTER_S = 1.5
"""A track that was not seen for longer is over. ByteTrack's 30 frames are a second; two people who
walk in nearly the same direction hide each other for somewhat longer."""
NO_TRACK = -1

# In heights of the face, as in ByteTrack at 25 frames a second: deviation of a measured box, of a
# new face's speed, and the variance by which a speed changes in a second.
_BOX_DEVIATION = 1 / 20
_FIRST_SPEED_DEVIATION = 25 / 16
_SPEED_VARIANCE_PER_S = (25 / 160) ** 2 * 25


class Tracker:
    """The tracks so far; one object follows one video.

    Each side of a box moves at a constant speed that a Kalman filter estimates. Its variances are
    in squared heights of the face, so that the four sides share them.
    """

    def __init__(self) -> None:
        self._time_s = 0.0
        self._next_id = 1
        self._ids: Ids = np.zeros(0, np.int64)
        self._seen_s: Array = np.zeros(0)
        self._sides: Array = np.zeros((0, 4))
        self._speeds: Array = np.zeros((0, 4))
        # Of position, of both, of speed.
        self._variances: Array = np.zeros((0, 3))

    def update(self, time_s: float, boxes_xyxy: npt.ArrayLike, scores: npt.ArrayLike) -> Ids:
        """Match the faces of the next frame that was looked at.

        Args:
            time_s: The frame's time; later than the last one's.
            boxes_xyxy: (N, 4) in pixels.
            scores: (N,), from 0 to 1.

        Returns:
            The number of each face's track, from 1: int64 (N,). A face of a low score that
            continues none has ``NO_TRACK``.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        sure = np.asarray(scores, np.float64) >= SURE_SCORE
        before_s = self._time_s
        self._predict(time_s)
        fresh = self._seen_s == before_s
        ids = np.full(len(boxes), NO_TRACK, np.int64)
        free = np.ones(len(self._ids), bool)
        for candidates, wanted, least in (
            # While one face hides another, the only box goes to the track that was seen last.
            (fresh, sure, LEAST_IOU_SURE),
            (~fresh, sure, LEAST_IOU_SURE),
            (np.ones_like(fresh), ~sure, LEAST_IOU_DOUBTFUL),
        ):
            tracks = np.flatnonzero(free & candidates)
            faces = np.flatnonzero(wanted & (ids == NO_TRACK))
            chosen, matched = _assign(self._sides[tracks], boxes[faces], least)
            tracks, faces = tracks[chosen], faces[matched]
            ids[faces] = self._ids[tracks]
            free[tracks] = False
            self._correct(tracks, boxes[faces])
            self._seen_s[tracks] = time_s
        new = np.flatnonzero(sure & (ids == NO_TRACK))
        ids[new] = self._begin(time_s, boxes[new])
        return ids

    def _predict(self, time_s: float) -> None:
        step, self._time_s = time_s - self._time_s, time_s
        lives = time_s - self._seen_s <= LOST_AFTER_S
        for name in ("_ids", "_seen_s", "_sides", "_speeds", "_variances"):
            setattr(self, name, getattr(self, name)[lives])
        self._sides += step * self._speeds
        place, both, speed = self._variances.T
        self._variances = np.stack(
            [
                place + 2 * step * both + step**2 * speed + _SPEED_VARIANCE_PER_S * step**3 / 3,
                both + step * speed + _SPEED_VARIANCE_PER_S * step**2 / 2,
                speed + _SPEED_VARIANCE_PER_S * step,
            ],
            axis=1,
        )

    def _correct(self, tracks: npt.NDArray[np.intp], boxes: Array) -> None:
        place, both, speed = self._variances[tracks].T
        total = place + _BOX_DEVIATION**2
        error = boxes - self._sides[tracks]
        self._sides[tracks] += (place / total)[:, None] * error
        self._speeds[tracks] += (both / total)[:, None] * error
        self._variances[tracks] = np.stack(
            [place - place**2 / total, both - both * place / total, speed - both**2 / total],
            axis=1,
        )

    def _begin(self, time_s: float, boxes: Array) -> Ids:
        count = len(boxes)
        ids = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        first = [_BOX_DEVIATION**2, 0, _FIRST_SPEED_DEVIATION**2]
        self._ids = np.concatenate([self._ids, ids])
        self._seen_s = np.concatenate([self._seen_s, np.full(count, time_s)])
        self._sides = np.concatenate([self._sides, boxes])
        self._speeds = np.concatenate([self._speeds, np.zeros((count, 4))])
        self._variances = np.concatenate([self._variances, np.tile(first, (count, 1))])
        return ids


def _assign(
    tracks: Array, boxes: Array, least: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows of the pairs whose overlaps have the largest sum, none below ``least``."""
    overlaps = iou_matrix(tracks.astype(np.float32), boxes.astype(np.float32))
    overlaps = np.where(overlaps >= least, overlaps, 0)
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    kept = overlaps[rows, columns] > 0
    return rows[kept], columns[kept]
