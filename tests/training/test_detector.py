from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from facekit.detection.grid import decode_cells, encode_boxes  # noqa: E402
from tests.training.facesets import write_sets  # noqa: E402
from training import runs  # noqa: E402
from training.detector.losses import detection_loss, overlap  # noqa: E402
from training.detector.network import DetectNet, resnet_layout  # noqa: E402
from training.detector.targets import build_targets, decode  # noqa: E402
from training.facenet import train as training_loop  # noqa: E402
from training.facenet.export import export  # noqa: E402
from training.facenet.mixture import Mixture, load_sources  # noqa: E402

GRID = (26, 46)


def test_targets_decode_to_the_faces_they_came_from() -> None:
    faces = np.array([[100, 60, 180, 170], [400, 200, 412, 214], [600, 20, 640, 60]], np.float32)
    targets = build_targets(faces, np.zeros((0, 4), np.float32), GRID)
    every = np.arange(targets.covered.size)
    offsets = encode_boxes(targets.boxes.reshape(4, -1).T, every, GRID[1]).reshape(4, *GRID)
    decoded = decode(torch.from_numpy(offsets)[None])[0].numpy()
    cells = np.flatnonzero(targets.covered)
    found = decoded.reshape(4, -1)[:, cells].T
    assert {tuple(box) for box in found.round(2).tolist()} == {tuple(f) for f in faces.tolist()}
    # The kit's own decode says the same.
    np.testing.assert_allclose(decode_cells(offsets, cells), found, atol=1e-3)


def test_even_the_smallest_face_covers_a_cell() -> None:
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(10, 380, size=(50, 2)):
        face = np.array([[x, y, x + 8, y + 8]], np.float32)
        assert build_targets(face, np.zeros((0, 4), np.float32), GRID).covered.sum() >= 1


def test_ignored_and_doubtful_background() -> None:
    none = np.zeros((0, 4), np.float32)
    ignored = np.array([[160, 160, 200, 200]], np.float32)
    weight = build_targets(none, ignored, GRID).coverage_weight
    assert weight[11, 11] == 0
    assert weight[0, 0] == 1
    face = np.array([[100, 100, 160, 160]], np.float32)
    partial = build_targets(face, none, GRID, complete=False).coverage_weight
    assert partial[0, 0] < 0
    assert partial[8, 8] > 0


def test_overlap_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    second = torch.tensor([[5.0, 0.0, 15.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    iou, giou = overlap(first, second)
    torch.testing.assert_close(iou, torch.tensor([1 / 3, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(giou, torch.tensor([1 / 3, -1 / 3]), atol=1e-4, rtol=0)


def test_the_network_learns_two_frames_by_heart() -> None:
    torch.manual_seed(0)
    faces = np.array([[40, 30, 90, 90]], np.float32), np.array([[20, 60, 50, 100]], np.float32)
    images = torch.zeros(2, 3, 128, 128)
    for image, (box,) in zip(images, faces, strict=True):
        x1, y1, x2, y2 = box.astype(int)
        image[:, y1:y2, x1:x2] = 1.0
    none = np.zeros((0, 4), np.float32)
    targets = [build_targets(face, none, (8, 8)) for face in faces]
    names = ("boxes", "covered", "box_weight", "coverage_weight")
    grids = [torch.from_numpy(np.stack([getattr(t, n) for t in targets])) for n in names]
    model = DetectNet(resnet_layout(18, 1, (8, 8, 8, 16, 16)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        bbox, coverage = model.logits(images)
        loss = sum(detection_loss(decode(bbox), coverage, *grids).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


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
    step = training_loop.train_step
    taken = []

    def killed(*arguments: object) -> dict[str, float]:
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(1)
        return step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", killed)
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


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(SystemExit, match="no such checkpoint"):
        runs.load_checkpoint(path)
    path.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"checkpoint\.pt: is not a usable checkpoint"):
        runs.load_checkpoint(path)


def test_learning_rate_plateau_does_not_depend_on_the_total() -> None:
    for step in range(0, 300, 30):
        short = runs.learning_rate(step, 1000, 1.0, 100, 0.3)
        assert short == runs.learning_rate(step, 5000, 1.0, 100, 0.3)
    assert runs.learning_rate(999, 1000, 1.0, 100, 0.3) == pytest.approx(0.01)
