from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from tests.training.facesets import write_sets  # noqa: E402
from training import checkpoints  # noqa: E402
from training.detector.network import DetectNet  # noqa: E402
from training.facenet.mixture import Mixture, load_sources  # noqa: E402
from training.facenet.recipe import FaceOptions, FaceRecipe, export  # noqa: E402
from training.loop import Machine, StepResult, fit  # noqa: E402


def test_frames_do_not_depend_on_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.facenet.mixture.CROP_BATCH", 4)
    monkeypatch.setattr("training.facenet.mixture.WHOLE_BATCH", 1)
    mixture = Mixture(load_sources(write_sets(tmp_path)), seed=3)
    batch = mixture[1]
    mixture[2]
    again = mixture[1]
    assert batch["image"].shape == (4, 3, 224, 384)
    assert mixture[0]["image"].shape == (1, 3, 416, 736)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert batch["covered"].sum() > 0


def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_sets(tmp_path / "data")
    monkeypatch.setattr("training.facenet.mixture.CROP_BATCH", 2)
    monkeypatch.setattr("training.facenet.mixture.WHOLE_BATCH", 2)
    monkeypatch.setattr("training.facenet.mixture.WHOLE_EVERY", 99)

    class Killed(FaceRecipe):
        def step(self, model: DetectNet, step: int, batch: dict[str, Any]) -> StepResult:
            if step == 2:
                raise KeyboardInterrupt
            return super().step(model, step, batch)

    def train(kind: type[FaceRecipe], name: str) -> dict[str, Any]:
        recipe = kind(FaceOptions(data, tmp_path / name, steps=3, save_every=2))
        return checkpoints.load_checkpoint(fit(recipe, tmp_path / name, Machine(workers=0)))

    whole = train(FaceRecipe, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Killed, "killed")
    resumed = train(FaceRecipe, "killed")
    assert resumed["step"] == whole["step"] == 3
    for name, value in whole["average"].items():
        torch.testing.assert_close(resumed["average"][name], value, rtol=1e-4, atol=1e-5)


def test_exported_file_has_the_contract_and_agrees(tmp_path: Path) -> None:
    model = DetectNet()
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoints.save_checkpoint(checkpoint, {"average": model.state_dict(), "step": 5, "seed": 1})
    path = tmp_path / "model.onnx"
    assert export(checkpoint, path) < 1e-4
    graph = onnx.load(path)
    assert [i.name for i in graph.graph.input] == ["input_1"]
    assert [o.name for o in graph.graph.output] == ["output_bbox/BiasAdd", "output_cov/Sigmoid"]
    assert graph.ir_version == 8
    assert graph.opset_import[0].version == 17
    assert graph.producer_name == "facekit"
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.graph.output]
    assert shapes == [[0, 4, 26, 46], [0, 1, 26, 46]]
    assert list(tmp_path.glob("*.partial")) == []
