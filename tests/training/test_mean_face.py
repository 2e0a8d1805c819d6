"""The mean face that is made of labeled points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facekit.landmarks.pose import MEAN_FACE, rotations_of
from training.landmarks.mean_face import PORTRAIT_PITCH_DEG, main, mean_face

FACE = MEAN_FACE * [1.0, 0.9, 1.2]


def labeled(count: int) -> np.ndarray:
    """Return points (N, 68, 2) of one face in many poses, two of them with a wild point."""
    rng = np.random.default_rng(1)
    angles = rng.uniform([-50, -20, -20], [50, 20, 20], (count, 3))
    angles[:, 1] += PORTRAIT_PITCH_DEG - np.median(angles[:, 1])
    sides = rng.uniform(20, 200, (count, 1, 1))
    points = sides * (FACE @ rotations_of(angles).transpose(0, 2, 1))[..., :2] + 300
    points += rng.normal(0, 0.01, points.shape) * sides
    points[:2, 8] += 100
    return points


def test_the_face_behind_many_views_is_found_with_its_depth() -> None:
    found = mean_face(labeled(120))
    scale = np.linalg.norm(FACE[42:48].mean(axis=0) - FACE[36:42].mean(axis=0))
    wanted = FACE - FACE[36:48].mean(axis=0)
    np.testing.assert_allclose(found, wanted / scale, atol=0.06)
    np.testing.assert_allclose(found[:, 2].std() / (wanted[:, 2] / scale).std(), 1, atol=0.05)


def test_the_committed_face_is_upright_even_and_of_the_right_size() -> None:
    right, left = MEAN_FACE[36:42].mean(axis=0), MEAN_FACE[42:48].mean(axis=0)
    np.testing.assert_allclose(left, [0.5, 0, 0], atol=1e-3)
    np.testing.assert_allclose(right, [-0.5, 0, 0], atol=1e-3)
    nose, ear = MEAN_FACE[30], MEAN_FACE[0]
    assert nose[2] < -0.4 < 0.5 < ear[2]  # toward the camera, away from it


def test_the_command_prints_the_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, points in enumerate(labeled(20)):
        lines = "\n".join(f"{x} {y}" for x, y in points)
        text = f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n"
        (tmp_path / f"a_{number}.pts").write_text(text)
    (tmp_path / "names").write_text("a_0.pts\na_1.pts\n")
    assert main([str(tmp_path), "--skip", str(tmp_path / "names")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 68
    assert eval(lines[0], {})[0][0] < -0.8
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "contains no .pts files to use" in capsys.readouterr().err
