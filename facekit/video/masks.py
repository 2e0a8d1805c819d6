"""Who wears a mask: counts a second and over all tracks, and alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facekit.contract import CLASS_NAMES
from facekit.video.records import Labels, Record

WEARING, BARE = CLASS_NAMES["facemask"]
LEAST_SIGHTINGS = 3
"""A track counts as a person once it was found in so many frames; others are wrong boxes mostly."""


class People:
    """The people of one video, a track each; what happens to them becomes events.

    Args:
        labels: Of the tracks, whose counts and classes are asked when they are needed.
        class_names: The model's classes; () for none.
        alert_after_s: A person without a mask who is there for longer is an event; None for never.
    """

    def __init__(
        self, labels: Labels, class_names: Sequence[str] = (), alert_after_s: float | None = None
    ) -> None:
        self._labels, self._names = labels, tuple(class_names)
        self._alert_after_s = alert_after_s
        self._second = 0
        self._here: set[int] = set()
        self._all: set[int] = set()
        self._bare_since: dict[int, float] = {}
        self._alerted: set[int] = set()

    def update(self, record: Record) -> list[dict[str, Any]]:
        """Return the events of the next frame: ``count`` for each second that is over, ``alert``.

        A ``count`` has the people of its second, and how many of them of each class.
        """
        events = self._close_seconds(int(record.time_s))
        for row, track in enumerate(record.track_ids.tolist()):
            if self._labels.sightings.get(track, 0) < LEAST_SIGHTINGS:
                continue
            self._here.add(track)
            self._all.add(track)
            if self._alert_after_s is None:
                continue
            if self._name(track) != BARE:
                self._bare_since.pop(track, None)
                continue
            since = self._bare_since.setdefault(track, record.time_s)
            if record.time_s - since >= self._alert_after_s and track not in self._alerted:
                self._alerted.add(track)
                assert record.faces is not None
                events.append(
                    {
                        "event": "alert",
                        "time_s": round(record.time_s, 3),
                        "track": track,
                        "class_name": BARE,
                        "seconds": round(record.time_s - since, 3),
                        "box_xyxy": record.faces.boxes_xyxy[row].astype(float).round(1).tolist(),
                    }
                )
        return events

    def close(self) -> list[dict[str, Any]]:
        """Return the count of the last second."""
        return self._close_seconds(self._second + 1)

    def _close_seconds(self, now: int) -> list[dict[str, Any]]:
        if now <= self._second:
            return []
        event = {"event": "count", "second": self._second, **self._numbers(self._here)}
        self._second, self._here = now, set()
        return [event]

    def _numbers(self, tracks: set[int]) -> dict[str, int]:
        names = [self._name(track) for track in tracks]
        return {"people": len(tracks), **{name: names.count(name) for name in self._names}}

    def _name(self, track: int) -> str:
        return self._names[self._labels.of(track)] if self._names else ""

    def summary(self) -> str:
        """Return who was there, such as "7 of 9 people wear a mask"."""
        numbers = self._numbers(self._all)
        people = numbers["people"]
        if not self._names:
            return "1 person" if people == 1 else f"{people:,} people"
        if people == 1:
            return f"1 person, {'with' if numbers[WEARING] else 'without'} a mask"
        return f"{numbers[WEARING]} of {people} people wear a mask"
