from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from facekit.errors import DataError  # noqa: E402
from facekit.labels.listing import split_of  # noqa: E402
from tests.training.facesets import write_all_sets, write_class_sets, write_sets  # noqa: E402
from training import checkpoints  # noqa: E402
from training.facenet import recipe as module  # noqa: E402
from training.facenet.__main__ import main  # noqa: E402
from training.facenet.export import export, fit_sigmoid, load_trained  # noqa: E402
from training.facenet.network import FaceNetwork, exportable, load_weights, save_weights  # noqa: E402
from training.facenet.photos import build_index  # noqa: E402
from training.facenet.recipe import FaceOptions, FaceRecipe  # noqa: E402
from training.facenet.reliability import reliability  # noqa: E402
from training.loop import Machine, StepResult, fit  # noqa: E402

WEIGHTS = Path(module.__file__).with_name("weights.npz")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open")
    build_index(write_sets(folder / "data"), folder / "cache")
    return folder / "cache"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CROP", (96, 64))
    monkeypatch.setattr(module, "CROP_BATCH", 2)
    monkeypatch.setattr(module, "WHOLE_EVERY", 99)
    monkeypatch.setattr(module, "WHOLE_BATCH", 1)
    monkeypatch.setattr(module, "ROUND_STEPS", 2)


def train(kind: type[FaceRecipe], out: Path, cache: Path, **options: Any) -> dict[str, Any]:
    options = {"steps": 3, "cache": cache, **options}
    path = fit(kind(FaceOptions(cache, out, **options)), out, Machine(workers=0, device="cpu"))
    return checkpoints.load_checkpoint(path)


@pytest.mark.usefixtures("small")
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, cache: Path) -> None:
    class Killed(FaceRecipe):
        def step(self, model: FaceNetwork, step: int, batch: dict[str, Any]) -> StepResult:
            if step == 2:
                raise KeyboardInterrupt
            return super().step(model, step, batch)

    whole = train(FaceRecipe, tmp_path / "whole", cache)
    with pytest.raises(KeyboardInterrupt):
        train(Killed, tmp_path / "killed", cache)
    resumed = train(FaceRecipe, tmp_path / "killed", cache)
    assert resumed["step"] == whole["step"] == 3
    assert not (whole["shown"] == 1).all()
    for name in ("shown", "next_shown"):
        assert torch.equal(resumed[name], whole[name])
    for name, value in whole["average"].items():
        assert torch.equal(resumed["average"][name], value), name


def test_a_round_shows_hard_photos_more_often_in_batches_made_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "calibration_figures", lambda network, photos: {"AP50": 0.5})
    recipe = FaceRecipe(FaceOptions(cache, cache, cache=cache))
    recipe.read()
    recipe.next_shown[0] = 4.0
    run: Any = SimpleNamespace(last=False, stale=False, kept=FaceNetwork())
    assert recipe.end_epoch(run, 0) == {"AP50": 0.5}
    assert run.stale and recipe.shown[0] == 4.0


@pytest.mark.usefixtures("small")
def test_a_run_starts_from_the_weights_of_the_repository(tmp_path: Path, cache: Path) -> None:
    state = train(FaceRecipe, tmp_path, cache, steps=1, start=WEIGHTS, rate=1e-9)
    for name, value in load_trained(WEIGHTS).named_parameters():
        torch.testing.assert_close(state["model"][name], value.detach(), rtol=0, atol=1e-6)


def test_the_weights_export_to_the_tensors_of_facenet(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert WEIGHTS.stat().st_size <= 4_000_000
    assert export(WEIGHTS, path) < 1e-4
    assert path.stat().st_size <= 5_000_000
    graph = onnx.load(path)
    shapes = {
        each.name: [d.dim_value for d in each.type.tensor_type.shape.dim][1:]
        for each in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "input_1": [3, 416, 736],
        "output_bbox/BiasAdd": [4, 26, 46],
        "output_cov/Sigmoid": [1, 26, 46],
    }
    assert (graph.ir_version, graph.opset_import[0].version) == (8, 17)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    # A color frame gives what the network that is trained makes of its gray one.
    frame = np.random.default_rng(0).random((1, 3, 416, 736), np.float32)
    gray = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), frame[0], 1)[None, None]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    network = load_trained(WEIGHTS).eval()
    scale, shift = network.calibration[0].tolist()
    with torch.no_grad():
        bbox, coverage, _ = network.logits(torch.from_numpy(gray))
    wanted = bbox, torch.sigmoid(coverage * scale + shift)
    for got, want in zip(session.run(None, {"input_1": frame}), wanted, strict=True):
        assert got == pytest.approx(want.numpy(), abs=1e-4)


def test_the_commands_export_and_measure(tmp_path: Path) -> None:
    data = write_all_sets(tmp_path / "data")
    path, figures = tmp_path / "model.onnx", tmp_path / "figures.json"
    assert main(["export", "--checkpoint", str(WEIGHTS), "--out", str(path)]) == 0
    measure = ["evaluate", "--data", str(data), "--model", str(path), "--split", "calibration"]
    plot = tmp_path / "scores.png"
    assert main([*measure, "--json", str(figures), "--plot", str(plot)]) == 0
    with Image.open(plot) as drawn:
        assert drawn.width > 300
    found = json.loads(figures.read_text())
    assert {"masks-ilc: AP50", "masks-ilc: best_f1 threshold"} <= found.keys()
    assert found["without faces: photos"] == sum(
        split_of(photo.stem) == "calibration" for photo in data.glob("no-faces*/*.jpg")
    )


def test_reliability_is_the_share_of_faces_by_score() -> None:
    pairs = np.array([(0.95, 1), (0.91, 1), (0.92, 0), (1.0, 1), (0.31, 0), (0.39, 1)], float)
    low, high = reliability(pairs)
    assert (low.low, low.boxes, low.share) == (0.3, 2, 0.5) and low.score == pytest.approx(0.35)
    assert (high.low, high.boxes, high.share) == (0.9, 4, 0.75)


def test_weights_keep_their_calibration(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FaceNetwork()
    network.calibration = np.array([[2.0, -1.0]], np.float32)
    save_weights(tmp_path / "a.npz", network)
    export(tmp_path / "a.npz", tmp_path / "b.npz")
    export(tmp_path / "a.npz", tmp_path / "b.npz")
    again = load_trained(tmp_path / "b.npz")
    assert again.calibration.tolist() == [[2.0, -1.0]]
    frame = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        before = network.eval().logits(frame)[1]
        folded = exportable(again).logits(frame.expand(1, 3, 64, 96))[1]
        torch.testing.assert_close(folded, 2.0 * before - 1.0, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("small")
def test_classes_are_learned_from_the_face_network(tmp_path: Path) -> None:
    classes = ("mask", "no-mask")
    data = write_class_sets(tmp_path)
    out, kept, again = (tmp_path / name for name in ("out", "kept.npz", "again.npz"))
    state = train(
        FaceRecipe, out, tmp_path / "cache", steps=1, start=WEIGHTS, rate=1e-9, classes=classes
    )
    gray, known = load_trained(WEIGHTS).eval(), load_weights(WEIGHTS, classes).eval()
    for name, value in known.named_parameters():
        if "sorter" not in name:
            torch.testing.assert_close(state["model"][name], value.detach(), rtol=0, atol=1e-6)
    # It starts by finding in a color photo what the face network finds in its gray one.
    frame = torch.rand(1, 3, 64, 96)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    with torch.no_grad():
        wanted = gray.logits((frame * luma).sum(dim=1, keepdim=True))
        for got, want in zip(known.logits(frame)[:2], wanted[:2], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    with pytest.raises(DataError, match="with classes mask, no-mask, not no-mask, mask: name ano"):
        train(FaceRecipe, out, tmp_path / "cache", classes=classes[::-1])
    assert state["classes"] == list(classes) and "sorter.1.weight" in state["model"]
    export(out / "checkpoint.pt", kept)
    export(kept, again)
    model = load_trained(again)
    assert model.classes == classes and model.calibration.tolist() == [[1, 0], [1, 0]]
    assert load_weights(kept, ("a", "b", "c")).sorter[1].out_channels == 3
    assert load_weights(kept, ()).stem.conv.in_channels == 1
    path = tmp_path / "model.onnx"
    assert export(kept, path, tmp_path / "cache") < 1e-4
    graph = onnx.load(path)
    shapes = {
        each.name: [d.dim_value for d in each.type.tensor_type.shape.dim][1:]
        for each in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "input_1": [3, 416, 736],
        "output_bbox/BiasAdd": [8, 26, 46],
        "output_cov/Sigmoid": [2, 26, 46],
    }
    assert path.stat().st_size <= 5_000_000
    measure = ["evaluate", "--data", str(data), "--model", str(path), "--split", "calibration"]
    assert main(measure) == 0


def test_weights_replace_no_other_file_and_not_those_they_are_made_of(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, faces=np.ones(3))
    before = other.read_bytes()
    for trained, path in ((WEIGHTS, other), (WEIGHTS, WEIGHTS)):
        with pytest.raises(DataError):
            export(trained, path)
    assert other.read_bytes() == before


def test_calibration_recovers_a_known_one() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20000)
    success = rng.random(20000) < 1 / (1 + np.exp(-(1.5 * logit - 0.5)))
    pairs = np.stack([1 / (1 + np.exp(-logit)), success], axis=1)
    assert fit_sigmoid(pairs) == pytest.approx((1.5, -0.5), abs=0.1)


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", calibration=np.ones(2), weight=np.ones(3))
    (tmp_path / "cut.npz").write_bytes(WEIGHTS.read_bytes()[:5000])
    for name in ("other", "cut"):
        with pytest.raises(DataError, match=f"{name}.npz: is not a file of this network's weights"):
            load_trained(tmp_path / f"{name}.npz")
