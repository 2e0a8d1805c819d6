"""Tracks: numbers that stay with their faces, gaps that are filled, labels that do not flicker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facekit.video.records import Labels, Record, Smoother, fill_gaps, track_record, unseen
from facekit.video.tracks import NO_TRACK, Tracker
from tests.video.squares import SIDE, faces_at

RATE = 25


def crossing(angle_deg: float, speed_px: float, seed: int) -> tuple[int, int]:
    """Two faces of 100 px cross in the middle, and the hidden one is not found meanwhile.

    Returns:
        How often one of both changed its number, and in how many frames both were found.
    """
    noise = np.random.default_rng(seed)
    tracker, last, switches, both = Tracker(), {}, 0, 0
    angle = np.deg2rad(angle_deg)
    for index in range(-50, 51):
        way = index * speed_px
        centers = np.array([[way, 0], [way * np.cos(angle), way * np.sin(angle)]])
        if angle_deg == 180:
            centers[1, 1] += 20
        boxes = np.concatenate([centers - 50, centers + 50], 1) + noise.normal(0, 1.5, (2, 4))
        overlap = np.clip(100 - np.abs(centers[0] - centers[1]), 0, None).prod() / 1e4
        shown = [0] if overlap > 0.5 else [0, 1]
        both += len(shown) == 2
        ids = tracker.update((index + 50) / RATE, boxes[shown], np.full(len(shown), 0.9))
        for face, track in zip(shown, ids.tolist(), strict=True):
            switches += last.get(face, track) != track
            last[face] = track
    return switches, both


@pytest.mark.parametrize(
    ("angle_deg", "speed_px"),
    # At 20 degrees and 4 px one is hidden for 2.3 s, which is longer than a track lives.
    [(20, 8), (45, 4), (45, 8), (90, 4), (90, 8), (135, 4), (135, 8), (180, 4), (180, 8)],
)
def test_no_number_changes_where_paths_cross(angle_deg: float, speed_px: float) -> None:
    for seed in range(5):
        switches, both = crossing(angle_deg, speed_px, seed)
        assert switches == 0, seed
        assert both < 101


def test_numbers_count_faces_and_a_face_that_was_gone_long_is_new() -> None:
    tracker = Tracker()
    box = [[10, 10, 50, 50]]
    assert tracker.update(0, box, [0.9]).tolist() == [1]
    assert tracker.update(0.5, [*box, [100, 10, 140, 50]], [0.9, 0.9]).tolist() == [1, 2]
    assert tracker.update(0.9, np.zeros((0, 4)), []).tolist() == []
    assert tracker.update(1.4, box, [0.9]).tolist() == [1]
    assert tracker.update(3.5, box, [0.9]).tolist() == [3]


def test_a_doubtful_face_only_continues_a_track() -> None:
    tracker = Tracker()
    near, far = [10, 10, 50, 50], [200, 10, 240, 50]
    assert tracker.update(0, [near, far], [0.3, 0.3]).tolist() == [NO_TRACK, NO_TRACK]
    assert tracker.update(0.04, [near], [0.9]).tolist() == [1]
    assert tracker.update(0.08, [near, far], [0.3, 0.3]).tolist() == [1, NO_TRACK]


def records_of(corners: list[list[tuple[float, float]] | None]) -> list[Record]:
    tracker = Tracker()
    return [
        unseen(index, index / RATE)
        if each is None
        else track_record(tracker, index, index / RATE, faces_at(each))
        for index, each in enumerate(corners)
    ]


def test_gaps_of_a_track_are_filled_between_its_ends() -> None:
    path = [[(10.0 + 5 * i, 20.0)] for i in range(10)]
    seen = [None if i in (2, 3) else [] if i == 6 else each for i, each in enumerate(path)]
    filled = list(fill_gaps(records_of(seen)))
    assert [record.index for record in filled] == list(range(10))
    for index, record in enumerate(filled):
        assert record.track_ids.tolist() == [1]
        assert record.faces.boxes_xyxy[0].tolist() == pytest.approx(
            [10 + 5 * index, 20, 10 + 5 * index + SIDE, 20 + SIDE], abs=0.01
        )
        assert record.interpolated.tolist() == [index in (2, 3, 6)]
        assert record.looked_at == (index not in (2, 3))
    row = filled[2].to_dict()
    assert row["looked_at"] is False and row["faces"][0]["interpolated"] is True


def test_a_long_gap_stays_and_the_window_is_bounded() -> None:
    path: list = [[(10.0, 20.0)], *[[]] * 50, [(10.0, 20.0)], *[[]] * 200]
    taken = 0

    def counted() -> object:
        nonlocal taken
        for record in records_of(path):
            taken += 1
            yield record

    for done, record in enumerate(fill_gaps(counted()), 1):
        assert taken - done <= 1.5 * RATE + 1
        assert len(record.track_ids) == (record.index in (0, 51))


def test_a_label_is_that_of_most_of_the_track() -> None:
    tracker, labels = Tracker(), Labels()
    given = [0, 0, 1, 0, 1, 0]
    records = [
        track_record(tracker, i, i / RATE, faces_at([(10, 10)], [label]))
        for i, label in enumerate(given)
    ]
    for record in records:
        labels.add(record)
    assert [labels.apply(record).faces.labels.tolist() for record in records] == [[0]] * 6


def test_points_of_a_still_face_are_steadied_and_those_of_a_moving_one_do_not_lag() -> None:
    noise = np.random.default_rng(0)
    for speed, most_error in ((0.0, 0.7), (8.0, 1.6)):
        smoother, errors, before = Smoother(), [], []
        tracker = Tracker()
        for index in range(60):
            faces = faces_at([(10 + speed * index, 20)])
            shaken = replace(faces, points_xy=faces.points_xy + noise.normal(0, 1, (1, 68, 2)))
            record = track_record(tracker, index, index / RATE, shaken)
            smoothed = smoother.apply(record).faces
            errors.append(np.abs(smoothed.points_xy - faces.points_xy).mean())
            before.append(np.abs(shaken.points_xy - faces.points_xy).mean())
        assert np.mean(errors[20:]) < most_error * np.mean(before[20:])
