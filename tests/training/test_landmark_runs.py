from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.training.detectors import write_network  # noqa: E402
from tests.training.facesets import write_pts, write_sets  # noqa: E402
from training import checkpoints  # noqa: E402
from training.facenet.__main__ import main as facenet  # noqa: E402
from training.facesets import PORTRAIT_FOLDER, PORTRAIT_TEST_FOLDER  # noqa: E402
from training.landmarks.__main__ import main  # noqa: E402
from training.landmarks.recipe import LandmarkOptions, LandmarkRecipe  # noqa: E402
from training.loop import Machine, StepResult, fit  # noqa: E402
from training.record import read_rows  # noqa: E402


def points_of(count: int) -> np.ndarray:
    """Return points of the face that ``write_sets`` draws, in every scheme: [count, 2]."""
    rng = np.random.default_rng(7)
    points = np.zeros((count, 2), np.float32)
    points[:68] = rng.uniform((32, 48), (88, 106), (68, 2))
    points[[36, 45]] = (43, 65), (77, 65)
    points[68:] = rng.uniform((40, 60), (80, 70), (count - 68, 2))
    return points


def portraits(root: Path, count: int) -> Path:
    """Write portraits annotated with ``count`` points, one of them without its jaw."""
    data = write_sets(root)
    for folder in (PORTRAIT_FOLDER, PORTRAIT_TEST_FOLDER):
        for number, path in enumerate(sorted((data / folder).glob("*.pts"))):
            points = points_of(count)
            if number == 1:
                points[:17] = np.nan
            write_pts(path, points)
    return data


@pytest.mark.parametrize(("count", "loss"), [(68, "l2"), (80, "l1"), (104, "wing")])
def test_every_scheme_is_trained_exported_and_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
    loss: str,
) -> None:
    monkeypatch.setattr("training.landmarks.augment.BATCH", 4)
    monkeypatch.setattr("training.loop.ROW_STEPS", 5)
    data, out, model = portraits(tmp_path / "data", count), tmp_path / "run", tmp_path / "m.onnx"
    options = ["--points", str(count), "--loss", loss, "--device", "cpu", "--workers", "0"]
    train = ["train", "--data", str(data), "--out", str(out), *options]
    # The faces of the photos of several faces hold 68 points: further ones are trained without.
    # The rate's ramp is 200 steps long.
    assert main([*train, "--steps", "30", "--rate", "0.05"]) == 0
    rows = read_rows(out / "metrics.jsonl", "step")
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30]
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert rows[-1]["all"] < 0.9 * rows[0]["all"]
    assert {"eyes", "mouth"} < rows[-1].keys()
    assert (out / "metrics.png").stat().st_size > 10_000

    assert main(["export", "--checkpoint", str(out / "checkpoint.pt"), "--out", str(model)]) == 0
    measure = ["evaluate", "--data", str(data), "--model", str(model)]
    assert main([*measure, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["true boxes: faces"] == 3
    assert 0 < figures["true boxes: eyes, crop pixels"] < 40
    assert ("true boxes: pupils" in figures) == (count >= 80)
    assert ("true boxes: extra eyes" in figures) == (count == 104)

    capsys.readouterr()
    other = [*train[:-6], "--points", "68" if count != 68 else "80", *train[-4:]]
    assert main([*other, "--steps", "31"]) == 2
    assert f"was trained with points {count}, not" in capsys.readouterr().err


def test_a_killed_run_of_partly_annotated_faces_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.landmarks.augment.BATCH", 4)
    data = portraits(tmp_path / "data", 80)

    class Killed(LandmarkRecipe):
        def step(self, model: Any, step: int, batch: dict[str, Any]) -> StepResult:
            if step == 3:
                raise KeyboardInterrupt
            return super().step(model, step, batch)

    def train(kind: type[LandmarkRecipe], name: str) -> dict[str, torch.Tensor]:
        out = tmp_path / name
        recipe = kind(LandmarkOptions(data, out, steps=5, save_every=2, points=80))
        state = checkpoints.load_checkpoint(fit(recipe, out, Machine(workers=0, device="cpu")))
        assert (state["step"], state["points"]) == (5, 80)
        weights: dict[str, torch.Tensor] = state["average"]
        return weights

    whole = train(LandmarkRecipe, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Killed, "killed")
    assert checkpoints.load_checkpoint(tmp_path / "killed/checkpoint.pt")["step"] == 2
    for name, value in train(LandmarkRecipe, "killed").items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-5)


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_sets(tmp_path / "data")
    train = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--workers", "0"]
    assert main([*train, "--device", "cuda:99"]) == 2
    assert "device 'cuda:99' is not there" in capsys.readouterr().err
    assert main([*train[:2], str(tmp_path / "gone"), *train[3:]]) == 2
    assert "gone: no such" in capsys.readouterr().err
    for path in (data / "300w").glob("*/*.pts"):
        path.write_text("nothing")
    assert main(train) == 2
    assert "contains no face to train on" in capsys.readouterr().err
    export = ["export", "--checkpoint", str(tmp_path / "checkpoint.pt"), "--out", "m.onnx"]
    assert main(export) == 2
    assert "checkpoint.pt: no such file" in capsys.readouterr().err
    checkpoints.save_checkpoint(tmp_path / "checkpoint.pt", {"average": {}, "step": 1, "seed": 0})
    assert main(export) == 2
    assert "checkpoint.pt: is of another network\n" in capsys.readouterr().err


def test_a_checkpoint_of_the_detector_is_no_landmark_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_network(tmp_path / "detector.pt")
    assert main(["export", "--checkpoint", str(path), "--out", str(tmp_path / "m.onnx")]) == 2
    error = capsys.readouterr().err
    assert f"{path}: is of another trainer: export it by python -m training.det" in error
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("--steps", "0", "expected a whole number >= 1, got 0"),
        ("--steps", "-4", "expected a whole number >= 1, got -4"),
        ("--workers", "-1", "expected a whole number >= 0, got -1"),
        ("--threads", "-1", "expected a whole number >= 0, got -1"),
        ("--seed", "-1", "expected a whole number >= 0 and <= 4,294,967,295, got -1"),
        ("--rate", "-1", "expected a number above 0, got -1"),
        ("--rate", "nan", "expected a number above 0, got nan"),
        ("--rate", "inf", "expected a number above 0, got inf"),
    ],
)
@pytest.mark.parametrize("command", [main, facenet])
def test_numbers_out_of_range_are_refused(
    command: Callable[[list[str]], int],
    name: str,
    value: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command(["train", "--data", "data", "--out", "out", f"{name}={value}"])
    assert f"argument {name}: {reason}" in capsys.readouterr().err
