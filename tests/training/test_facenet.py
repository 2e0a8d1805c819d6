from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from tests.training.facesets import write_sets  # noqa: E402
from training import runs  # noqa: E402
from training.detector.network import DetectNet  # noqa: E402
from training.facenet import train as training_loop  # noqa: E402
from training.facenet.export import export  # noqa: E402
from training.facenet.mixture import Mixture, load_sources  # noqa: E402
from training.steps import StepResult  # noqa: E402


def test_frames_do_not_depend_on_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.facenet.mixture.CROP_BATCH", 4)
    monkeypatch.setattr("training.facenet.mixture.WHOLE_BATCH", 1)
    mixture = Mixture(load_sources(write_sets(tmp_path)), seed=3, steps=8)
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

    def options(name: str) -> training_loop.TrainOptions:
        return training_loop.TrainOptions(
            data, tmp_path / name, steps=3, workers=0, save_every=2, threads=1
        )

    whole = runs.load_checkpoint(training_loop.train(options("whole")))
    compute, taken = training_loop.compute, []

    def killed(*arguments: Any) -> StepResult:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(1)
        return compute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "compute", killed)
        with pytest.raises(KeyboardInterrupt):
            training_loop.train(options("killed"))
    resumed = runs.load_checkpoint(training_loop.train(options("killed")))
    assert resumed["step"] == whole["step"] == 3
    for name, value in whole["average"].items():
        torch.testing.assert_close(resumed["average"][name], value, rtol=1e-4, atol=1e-5)


def test_exported_file_has_the_contract_and_agrees(tmp_path: Path) -> None:
    model = DetectNet()
    checkpoint = tmp_path / "checkpoint.pt"
    runs.save_checkpoint(checkpoint, {"average": model.state_dict(), "step": 5, "seed": 1})
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
