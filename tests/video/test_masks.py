"""Counts and alerts of a made-up scene of nine."""

from __future__ import annotations

from facekit.video.masks import People
from facekit.video.records import Labels, track_record
from facekit.video.tracks import Tracker
from tests.video.squares import faces_at

RATE = 10


def test_seven_of_nine() -> None:
    """Two without a mask, of whom one leaves after 2 s; labels flicker; one comes late."""
    tracker, labels = Tracker(), Labels()
    records = []
    for index in range(50):
        here = [n for n in range(9) if not (n == 8 and index > 20) and not (n == 0 and index < 30)]
        corners = [(60 * (n % 5) + index * 0.5, 100 * (n // 5)) for n in here]
        flickers = [int(n >= 7) ^ int((index + n) % 4 == 0) for n in here]
        record = track_record(tracker, index, index / RATE, faces_at(corners, flickers))
        labels.add(record)
        records.append(record)
    people = People(labels, ("mask", "no-mask"), alert_after_s=3.0)
    events = [event for record in records for event in people.update(labels.apply(record))]
    events += people.close()
    counts = [event for event in events if event["event"] == "count"]
    assert [(c["second"], c["people"], c["mask"], c["no-mask"]) for c in counts] == [
        (0, 8, 6, 2),
        (1, 8, 6, 2),
        (2, 8, 6, 2),
        (3, 8, 7, 1),
        (4, 8, 7, 1),
    ]
    alerts = [event for event in events if event["event"] == "alert"]
    assert [(alert["time_s"], alert["class_name"]) for alert in alerts] == [(3.0, "no-mask")]
    assert people.summary() == "7 of 9 people wear a mask"


def test_a_face_of_one_frame_is_nobody_and_one_person_is_said_in_words() -> None:
    tracker, labels = Tracker(), Labels()
    people = People(labels, ("mask", "no-mask"))
    for index in range(10):
        corners = [(10, 10), (200, 100)] if index == 4 else [(10, 10)]
        record = track_record(tracker, index, index / RATE, faces_at(corners, [1] * len(corners)))
        labels.add(record)
        people.update(record)
    assert people.summary() == "1 person, without a mask"
    assert People(Labels()).summary() == "0 people"
