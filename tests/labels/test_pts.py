from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.errors import ConfigError, DataError
from facekit.labels.pts import face_box, mirror_order, photo_stem, present, read_pts
from facekit.landmarks.scheme import POINT_COUNTS, groups


def write(path: Path, lines: list[str]) -> Path:
    path.write_text(f"version: 1\nn_points: {len(lines)}\n{{\n" + "\n".join(lines) + "\n}\n")
    return path


@pytest.mark.parametrize("count", POINT_COUNTS)
def test_every_scheme_is_read(tmp_path: Path, count: int) -> None:
    path = write(tmp_path / "a.pts", [f"{k}.25 {-k}" for k in range(count)])
    points = read_pts(path, count)
    assert points.dtype == np.float32
    assert points[:, 0].tolist() == [k + 0.25 for k in range(count)]
    assert points[:, 1].tolist() == [-k for k in range(count)]


def test_absent_points(tmp_path: Path) -> None:
    lines = [f"{k} {k}" for k in range(68)]
    lines[3], lines[67] = "nan nan", "-1 -1.0"
    points = read_pts(write(tmp_path / "a.pts", lines), partial=True)
    assert np.flatnonzero(~present(points)).tolist() == [3, 67]
    # A smaller scheme lacks what the larger one adds.
    points = read_pts(tmp_path / "a.pts", 104, partial=True)
    assert points.shape == (104, 2)
    assert np.flatnonzero(~present(points)).tolist() == [3, 67, *range(68, 104)]


@pytest.mark.parametrize(
    ("lines", "count", "partial", "reason"),
    [
        (["1 2"] * 68, 80, False, "holds 68 points, expected 80"),
        (["1 2"] * 80, 68, True, "holds 80 points, expected 68"),
        (["1 2"] * 69, 104, True, "holds 69 points, expected 68 or 80 or 104"),
        (["nan nan"] + ["1 2"] * 67, 68, False, "not finite"),
        (["nan 3"] + ["1 2"] * 67, 68, True, "not finite"),
        (["inf inf"] + ["1 2"] * 67, 68, True, "not finite"),
        (["-1 -1"] * 68, 68, True, "no annotated point"),
    ],
)
def test_wrong_points_are_refused(
    tmp_path: Path, lines: list[str], count: int, partial: bool, reason: str
) -> None:
    path = write(tmp_path / "a.pts", lines)
    with pytest.raises(DataError, match=reason) as caught:
        read_pts(path, count, partial=partial)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version: 1\n1 2\n", "no list of points"),
        ("{\n1 2\n3 4\n}", "holds 2 points, expected 68"),
        ("{\n" + "1 x\n" * 68 + "}", "not a number"),
        ("{\n1 \u00e9\n}", "cannot be read"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.pts"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=reason) as caught:
        read_pts(path)
    assert str(path) in str(caught.value)


def test_minus_one_is_a_place_in_a_face_that_is_annotated_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pts", ["-1 -1"] + ["1 2"] * 67)
    assert read_pts(path)[0].tolist() == [-1, -1]


@pytest.mark.parametrize("count", POINT_COUNTS)
def test_mirror(count: int) -> None:
    mirror = np.array(mirror_order(count))
    np.testing.assert_array_equal(mirror[mirror], np.arange(count))
    # Right parts become left ones, and parts in the middle or of both sides stay what they are.
    names = {k: name for name, span in groups(count).items() for k in span}
    swapped = {"right_eyebrow": "left_eyebrow", "right_eye": "left_eye"}
    swapped |= {left: right for right, left in swapped.items()}
    for k in range(count):
        assert names[int(mirror[k])] == swapped.get(names[k], names[k])


def test_mirror_of_named_points() -> None:
    mirror = mirror_order(104)
    pairs = {0: 16, 8: 8, 17: 26, 30: 30, 33: 33, 36: 45, 39: 42, 37: 44, 48: 54, 51: 51, 60: 64}
    # NVIDIA's points beyond iBUG's: pupils, ears, further points of the eyes.
    pairs |= {68: 74, 69: 73, 70: 72, 71: 75, 76: 78, 77: 79, 80: 91, 83: 100, 90: 101, 102: 103}
    for one, other in pairs.items():
        assert (mirror[one], mirror[other]) == (other, one)


def test_mirror_of_an_unknown_scheme() -> None:
    with pytest.raises(ConfigError, match="70 points"):
        mirror_order(70)


def test_face_box_is_the_same_in_every_scheme() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 60, (104, 2)).astype(np.float32)
    points[76:80] += 90  # ears stick out
    low, high = points[:68].min(axis=0), points[:68].max(axis=0)
    expected = [low[0], low[1] - 0.25 * (high[1] - low[1]), high[0], high[1]]
    for count in POINT_COUNTS:
        np.testing.assert_allclose(face_box(points[:count]), expected, rtol=1e-6)
    points[5] = np.nan
    assert np.isfinite(face_box(points)).all()
    assert np.isnan(face_box(np.full((68, 2), np.nan, np.float32))).all()


def test_which_photo_points_are_of() -> None:
    stems = {"a", "b_2"}
    of = {"a": "a", "a_1": "a", "b_2": "b_2", "b_2_1": "b_2", "b_3": "b", "lost": "lost"}
    for name, stem in of.items():
        assert photo_stem(Path("folder") / f"{name}.pts", stems) == stem
