"""Tiles cover a photo and are few, and a face that several of them show is one face."""

from __future__ import annotations

import numpy as np
import pytest

from facekit.detection.search import AUTO_TILES, MAX_TILES, Search, search_parameters
from facekit.detection.tiling import (
    CLEAR_SIDE,
    MIN_GAIN,
    OVERLAP,
    call_for_tiles,
    join,
    plan_tiles,
    shrink,
    whole,
)
from facekit.errors import ConfigError, InputError
from facekit.limits import MAX_BOXES

SIZES = [(1280, 720), (5120, 1280), (300, 3600), (4032, 3024), (20_000, 10_000), (1, 30_000)]


@pytest.mark.parametrize("size_wh", [*SIZES, (32_767, 1), (2, 1481), (9_001, 127)])
@pytest.mark.parametrize("most", [2, 3, 4, 16, MAX_TILES])
def test_tiles_cover_the_photo_overlap_and_are_at_most_so_many(
    size_wh: tuple[int, int], most: int
) -> None:
    below = shrink(whole(size_wh)) / MIN_GAIN
    tiles = plan_tiles(size_wh, most, below)
    assert len(tiles) == 0 or 2 <= len(tiles) <= most
    if not len(tiles):
        return
    assert (tiles == tiles.round()).all()
    assert len(np.unique(tiles[:, 2:] - tiles[:, :2], axis=0)) == 1
    assert shrink(tiles) < below
    for low, high, side in ((0, 2, size_wh[0]), (1, 3, size_wh[1])):
        starts, ends = np.unique(tiles[:, low]), np.unique(tiles[:, high])
        assert starts[0] == 0
        assert ends[-1] == side
        # Starts are rounded to whole pixels.
        shared = ends[:-1] - starts[1:]
        assert (shared >= OVERLAP * (ends[0] - starts[0]) - 2).all()


def test_plan_of_well_known_photos() -> None:
    def plan(size_wh: tuple[int, int], most: int) -> int:
        return len(plan_tiles(size_wh, most, shrink(whole(size_wh)) / MIN_GAIN))

    # One frame shows every pixel of it already.
    assert plan((640, 480), MAX_TILES) == 0
    assert plan((1280, 720), 4) == 4
    # Three beside each other are as high as the photo, and a fourth would show nothing larger.
    assert plan((5120, 1280), 4) == 3
    assert plan((720, 1280), 4) == 4
    assert plan((4032, 3024), 16) == 15


def test_tiles_that_show_hardly_more_than_what_was_seen_are_left_out() -> None:
    first = plan_tiles((1600, 900), 4, shrink(whole((1600, 900))))
    assert len(first) == 4
    assert len(plan_tiles((1600, 900), 16, shrink(first))) > 4
    assert len(plan_tiles((1600, 900), 16, shrink(first) / MIN_GAIN)) == 0


def test_auto_goes_on_where_faces_are_small_or_the_frame_distorts() -> None:
    photo, tiles = whole((1280, 720)), plan_tiles((1280, 720), 4, 9.0)
    assert call_for_tiles(np.array([CLEAR_SIDE - 1, 200]), photo)
    assert not call_for_tiles(np.array([CLEAR_SIDE, 200]), photo)
    assert call_for_tiles(np.empty(0), photo)
    assert not call_for_tiles(np.empty(0), tiles)
    panorama = plan_tiles((12_000, 300), 4, 99.0)
    assert call_for_tiles(np.empty(0), panorama)
    # Large faces in a frame that squeezes are no sign that none was missed; in a portrait they are.
    assert call_for_tiles(np.array([CLEAR_SIDE + 50]), panorama)
    assert call_for_tiles(np.array([CLEAR_SIDE + 50]), whole((300, 3600)))
    assert not call_for_tiles(np.array([CLEAR_SIDE + 50]), whole((1080, 1920)))


def test_a_long_photo_little_higher_than_a_frame_is_cut_into_one_row() -> None:
    for size_wh in ((2725, 500), (7266, 480), (6000, 600)):
        tiles = plan_tiles(size_wh, MAX_TILES, 99.0)
        assert set(tiles[:, 3] - tiles[:, 1]) == {size_wh[1]}
    assert len(set(plan_tiles((900, 600), MAX_TILES, 99.0)[:, 1])) == 2


def seen_in(window: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The parts of faces that a window shows, as a detector would box them."""
    boxes = np.concatenate(
        [np.maximum(faces[:, :2], window[:2]), np.minimum(faces[:, 2:], window[2:])], axis=1
    )
    return boxes[(boxes[:, 2:] - boxes[:, :2] > 4).all(axis=1)]


@pytest.mark.parametrize("seed", range(20))
def test_every_face_is_kept_once_with_its_whole_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size_wh = (4000, 3000)
    tiles = plan_tiles(size_wh, 16, 99.0)
    side = rng.integers(40, int(0.9 * OVERLAP * (tiles[0, 3] - tiles[0, 1])), 60)
    # One face a cell, so that none hides another.
    cells = rng.permutation(100)[:60]
    corner = np.stack([cells % 10 * 400, cells // 10 * 300], axis=1)
    room = np.array([400, 300]) - side[:, None]
    corner = corner + (rng.random((60, 2)) * room).astype(int)
    faces = np.concatenate([corner, corner + side[:, None]], axis=1).astype(np.float32)
    windows = np.concatenate([whole(size_wh), tiles])
    parts = [(seen_in(w, faces).astype(np.float32), w) for w in windows[1:]]
    large = faces[side > 150]
    parts.append((large, windows[0]))
    boxes = np.concatenate([part for part, _ in parts])
    found_in = np.concatenate([w[None].repeat(len(part), axis=0) for part, w in parts])
    scores = rng.uniform(0.5, 1, len(boxes)).astype(np.float32)
    kept = join(boxes, scores, found_in, size_wh)
    assert sorted(boxes[kept].tolist()) == sorted(faces.tolist())
    assert (np.diff(scores[kept]) <= 0).all()


def test_a_part_that_no_tile_shows_whole_is_not_lost() -> None:
    tiles = plan_tiles((2000, 1000), 4, 9.0)
    cut = np.array([[tiles[0, 2] - 90, 100, tiles[0, 2], 220]], np.float32)
    assert join(cut, np.ones(1, np.float32), tiles[:1], (2000, 1000)).tolist() == [0]


def test_what_is_clear_in_the_whole_photo_stays_as_it_was_found() -> None:
    size_wh = (1472, 832)
    photo, tiles = whole(size_wh), plan_tiles(size_wh, 4, 9.0)
    face = [100.0, 100, 300, 340]
    boxes = np.array([face, [105, 95, 310, 330], [150, 250, 240, 320]], np.float32)
    scores = np.array([0.6, 0.9, 0.95], np.float32)
    windows = np.concatenate([photo, tiles[:1], tiles[:1]])
    # The better box of a tile, and what a tile took for a face within it, are left out.
    assert join(boxes, scores, windows, size_wh).tolist() == [0]


def test_faces_of_one_frame_are_not_joined() -> None:
    boxes = np.array([[0, 0, 30, 30], [9, 0, 39, 30]], np.float32)
    windows = whole((1472, 832)).repeat(2, axis=0)
    assert join(boxes, np.array([0.8, 0.9], "f"), windows, (1472, 832)).tolist() == [1, 0]
    assert join(boxes[:0], np.empty(0, "f"), windows[:0], (1472, 832)).tolist() == []


def test_a_photo_full_of_faces_is_joined_in_bounded_time() -> None:
    size_wh = (14_000, 14_000)
    tiles = plan_tiles(size_wh, MAX_TILES, 99.0)
    corners = np.random.default_rng(1).uniform(0, 1960, (len(tiles), 300, 2)) + tiles[:, None, :2]
    boxes = np.concatenate([corners, corners + 30], axis=2).reshape(-1, 4).astype(np.float32)
    scores = np.linspace(1, 0.6, len(boxes), dtype=np.float32)
    kept = join(boxes, scores, tiles.repeat(300, axis=0), size_wh)
    assert len(kept) == MAX_BOXES


@pytest.mark.parametrize(
    ("given", "search"),
    [
        ({}, Search()),
        ({"tiles": "off", "rotations": "off"}, Search()),
        ({"tiles": "auto"}, Search(AUTO_TILES, adaptive_tiles=True)),
        ({"tiles": 16, "priority": 1}, Search((16,))),
        ({"tiles": "64"}, Search((64,))),
        ({"rotations": "auto"}, Search((), False, (90, 180, 270), True)),
        ({"rotations": "270, 90"}, Search(rotations_deg=(90, 270))),
        ({"rotations": 180}, Search(rotations_deg=(180,))),
        ({"threshold": "0.05"}, Search(threshold=0.05)),
    ],
)
def test_parameters_are_read(given: dict[str, object], search: Search) -> None:
    assert Search.parse(given) == search


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tiles": "1"}, "tiles: expected off, auto or a number from 2 to 64, got '1'"),
        ({"tiles": 65}, "got '65'"),
        ({"tiles": 9**40}, "tiles: expected"),
        ({"tiles": "²"}, "tiles: expected"),
        ({"tiles": True}, "got 'True'"),
        ({"tiles": ""}, "got ''"),
        ({"rotations": "45"}, "rotations: expected off, auto, or some of 90, 180, 270"),
        ({"rotations": "90,"}, "got '90,'"),
        ({"threshold": "0.04"}, "threshold: expected a number from 0.05 to 1, got '0.04'"),
        ({"threshold": "nan"}, "threshold: expected"),
        ({"threshold": "low"}, "threshold: expected"),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Search.parse(given)
    with pytest.raises(ConfigError, match=message):
        search_parameters(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({}, 1024),
        ({"tiles": "auto", "rotations": "auto"}, 42),
        ({"tiles": 64}, 15),
        ({"tiles": 64, "rotations": "90,180,270"}, 3),
    ],
)
def test_a_request_may_ask_for_so_many_photos(given: dict[str, object], most: int) -> None:
    search = Search.parse(given)
    search.check_photos(most)
    with pytest.raises(InputError, match=f"so send at most {most} photos"):
        search.check_photos(most + 1)


def test_what_is_not_given_is_not_sent() -> None:
    assert search_parameters() == {}
    assert search_parameters(tiles=8, rotations="90") == {"tiles": "8", "rotations": "90"}
