"""What is known of each frame, as it goes from the server through the tracks into the outputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from facekit.faces import Faces
from facekit.video.smoothing import OneEuro
from facekit.video.tracks import LOST_AFTER_S, NO_TRACK, Ids, Tracker


@dataclass(frozen=True)
class Record:
    """One frame: its faces and their tracks.

    Attributes:
        index: The frame's number in the source, from 0.
        time_s: Seconds from the source's start.
        faces: In pixels of the upright frame; None where nothing is known of it.
        track_ids: The number of each face's track: int64 (N,).
        interpolated: Whether each face was not found here but between its neighbors: bool (N,).
        looked_at: Whether the server looked at the frame.
        error: Why it could not; "" if it could, or was not asked.
    """

    index: int
    time_s: float
    faces: Faces | None
    track_ids: Ids
    interpolated: npt.NDArray[np.bool_]
    looked_at: bool = True
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: those of ``Faces.to_dict`` with the tracks."""
        faces = [] if self.faces is None else self.faces.to_dict()["faces"]
        row: dict[str, Any] = {"frame": self.index, "time_s": round(self.time_s, 6)}
        if self.error:
            row["error"] = self.error
        if not self.looked_at:
            row["looked_at"] = False
        row["faces"] = [
            {"track": int(track), **({"interpolated": True} if between else {}), **face}
            for track, between, face in zip(self.track_ids, self.interpolated, faces, strict=True)
        ]
        return row


class Labels:
    """The class of each track: the one that has the most of its scores."""

    def __init__(self) -> None:
        self._sums: dict[int, npt.NDArray[np.float64]] = {}
        self.sightings: dict[int, int] = {}

    def add(self, record: Record) -> None:
        """Count the faces that were found in a frame."""
        faces = record.faces
        if faces is None:
            return
        for index, track in enumerate(record.track_ids.tolist()):
            self.sightings[track] = self.sightings.get(track, 0) + 1
            if faces.class_names:
                sums = self._sums.setdefault(track, np.zeros(len(faces.class_names)))
                sums[faces.labels[index]] += float(faces.scores[index])

    def of(self, track: int) -> int:
        """Return the index of a track's class."""
        return int(self._sums[track].argmax())

    def apply(self, record: Record) -> Record:
        """Return the record with each face's class as its track has it."""
        faces = record.faces
        if faces is None or not faces.class_names or not len(faces):
            return record
        labels = np.array([self.of(track) for track in record.track_ids.tolist()], np.int32)
        return replace(record, faces=replace(faces, labels=labels))


def track_record(tracker: Tracker, index: int, time_s: float, faces: Faces) -> Record:
    """Return the record of a frame that was looked at.

    Faces of a low score that continue no track are left out.
    """
    ids = tracker.update(time_s, faces.boxes_xyxy, faces.scores)
    kept = ids != NO_TRACK
    return Record(index, time_s, faces[kept], ids[kept], np.zeros(int(kept.sum()), bool))


def unseen(index: int, time_s: float, error: str = "") -> Record:
    """Return the record of a frame that was not looked at, or could not be."""
    return Record(index, time_s, None, np.zeros(0, np.int64), np.zeros(0, bool), False, error)


def fill_gaps(records: Iterable[Record], longest_s: float = LOST_AFTER_S) -> Iterator[Record]:
    """Yield the records with each track's faces interpolated where it was not seen.

    Records are held back until ``longest_s`` seconds later ones are known; that is all that lies in
    memory.

    Args:
        records: In order.
        longest_s: Between two sightings farther apart nothing is filled.
    """
    window: deque[Record] = deque()
    last: dict[int, tuple[Record, int]] = {}
    for record in records:
        window.append(record)
        for row, track in enumerate(record.track_ids.tolist()):
            before = last.get(track)
            if before is not None and record.time_s - before[0].time_s <= longest_s:
                _fill(window, track, before, (record, row))
            last[track] = record, row
        while window and record.time_s - window[0].time_s > longest_s:
            yield window.popleft()
        last = {k: v for k, v in last.items() if record.time_s - v[0].time_s <= longest_s}
    yield from window


def _fill(
    window: deque[Record], track: int, before: tuple[Record, int], after: tuple[Record, int]
) -> None:
    """Add a track's face to the records of the window between two that have it."""
    (first, row), (second, other) = before, after
    offset = window[0].index
    for index in range(first.index + 1, second.index):
        record = window[index - offset]
        part = (record.time_s - first.time_s) / (second.time_s - first.time_s)
        assert first.faces is not None and second.faces is not None
        face = _between(first.faces[[row]], second.faces[[other]], part)
        faces = face if record.faces is None or not len(record.faces) else join(record.faces, face)
        window[index - offset] = replace(
            record,
            faces=faces,
            track_ids=np.append(record.track_ids, track),
            interpolated=np.append(record.interpolated, True),
        )


def _between(first: Faces, second: Faces, part: float) -> Faces:
    mixed = {
        name: (1 - part) * getattr(first, name) + part * getattr(second, name)
        for name in ("boxes_xyxy", "scores", "points_xy", "point_scores", "sharpness")
    }
    return replace(first, **mixed)


def join(first: Faces, second: Faces) -> Faces:
    """Return the faces of one frame from two parts."""
    names = ("boxes_xyxy", "scores", "points_xy", "point_scores", "sharpness", "labels")
    return replace(
        first, **{n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in names}
    )


class Smoother:
    """Smooths the landmarks of each track over time; one object follows one video."""

    def __init__(self) -> None:
        self._filters: dict[int, tuple[float, OneEuro]] = {}

    def apply(self, record: Record) -> Record:
        """Return the next record with smoothed points."""
        faces = record.faces
        if faces is None or not faces.points_xy.size:
            return record
        points = faces.points_xy.copy()
        heights = faces.boxes_xyxy[:, 3] - faces.boxes_xyxy[:, 1]
        now = record.time_s
        self._filters = {k: v for k, v in self._filters.items() if now - v[0] <= LOST_AFTER_S}
        for row, track in enumerate(record.track_ids.tolist()):
            _, euro = self._filters.get(track, (now, OneEuro()))
            points[row] = euro.filter(now, points[row], float(heights[row]))
            self._filters[track] = now, euro
        return replace(record, faces=replace(faces, points_xy=points))
