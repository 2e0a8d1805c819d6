from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facekit.detection.grid import decode_cells, encode_boxes  # noqa: E402
from training.detector.losses import (  # noqa: E402
    CostFunction,
    box_l1_loss,
    cross_entropy_loss,
    detection_loss,
    overlap,
)
from training.detector.network import (  # noqa: E402
    Convolution,
    DetectNet,
    Projection,
    resnet_layout,
)
from training.detector.recipe import learning_rate  # noqa: E402
from training.detector.targets import (  # noqa: E402
    CoverageRule,
    build_targets,
    coverage_rules,
    decode,
)
from training.experiment.training import (  # noqa: E402
    ClassRaster,
    CostFunctionConfig,
    FacekitCost,
    Objective,
    SoftStartAnnealingSchedule,
    TargetClass,
)

GRID = (26, 46)
RASTER = ClassRaster(cov_radius_x=0.54, cov_radius_y=0.54, bbox_min_radius=11.5 / 16)
ONE_CLASS = (CoverageRule(RASTER, ring=1.35),)


def test_targets_decode_to_the_faces_they_came_from() -> None:
    faces = np.array([[100, 60, 180, 170], [400, 200, 412, 214], [600, 20, 640, 60]], np.float32)
    targets = build_targets(faces, np.zeros((0, 4), np.float32), GRID, ONE_CLASS)
    every = np.arange(targets.covered.size)
    offsets = encode_boxes(targets.boxes.reshape(4, -1).T, every, GRID[1]).reshape(4, *GRID)
    decoded = decode(torch.from_numpy(offsets)[None])[0, 0].numpy()
    cells = np.flatnonzero(targets.covered)
    found = decoded.reshape(4, -1)[:, cells].T
    assert {tuple(box) for box in found.round(2).tolist()} == {tuple(f) for f in faces.tolist()}
    # The kit's own decode says the same.
    np.testing.assert_allclose(decode_cells(offsets, cells), found, atol=1e-3)


def test_even_the_smallest_face_covers_a_cell() -> None:
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(10, 380, size=(50, 2)):
        face = np.array([[x, y, x + 8, y + 8]], np.float32)
        assert build_targets(face, np.zeros((0, 4), np.float32), GRID, ONE_CLASS).covered.sum() >= 1


def test_ignored_background() -> None:
    none = np.zeros((0, 4), np.float32)
    ignored = np.array([[160, 160, 200, 200]], np.float32)
    weight = build_targets(none, ignored, GRID, ONE_CLASS).coverage_weight[0]
    assert weight[11, 11] == 0
    assert weight[0, 0] == 1


def two_classes(deadzone: float = 0.67) -> tuple[CoverageRule, CoverageRule]:
    first, second = coverage_rules((RASTER,) * 2, deadzone)
    return first, second


def test_a_face_is_background_to_the_other_class() -> None:
    faces = np.array([[100, 100, 200, 200], [180, 100, 280, 200]], np.float32)
    none = np.zeros((0, 4), np.float32)
    classes = np.array([0, 1])
    targets = build_targets(faces, none, GRID, classes=classes, rules=two_classes())
    assert not (targets.covered[0] * targets.covered[1]).any()
    for own, other in ((0, 1), (1, 0)):
        cells = targets.covered[own] > 0
        assert cells.sum() > 4
        assert (targets.boxes[own][:, cells].T == faces[own]).all()
        # It counts as much against the other class as for its own.
        weight = targets.coverage_weight
        np.testing.assert_array_equal(weight[other][cells], weight[own][cells])
        assert targets.box_weight[other][cells].max() == 0


def test_the_dead_zone_gives_the_ring_as_a_factor_of_the_radius() -> None:
    # 0.54 and 0.41 of the way from there to the box's edge are 1.35 times 0.54.
    assert two_classes(0.41)[0].ring == pytest.approx(1.35, abs=1e-3)


def test_tlts_losses_by_hand() -> None:
    rng = np.random.default_rng(0)
    logit = torch.from_numpy(rng.normal(size=(2, 2, 3, 4)))
    covered = torch.from_numpy((rng.random((2, 2, 3, 4)) < 0.3).astype(float))
    weight = torch.from_numpy((rng.random((2, 2, 3, 4)) < 0.8).astype(float))
    share = torch.tensor([0.05, 0.4], dtype=torch.double)
    found = cross_entropy_loss(logit, covered, weight, share)
    p, t, w = 1 / (1 + np.exp(-logit.numpy())), covered.numpy(), weight.numpy()
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    for index, foreground in enumerate((0.05, 0.4)):
        scale = np.where(t[:, index] > 0.5, foreground, 1 - foreground) * w[:, index]
        assert float(found[index]) == pytest.approx((scale * entropy[:, index]).mean())
    boxes, predicted = (torch.from_numpy(rng.normal(size=(2, 2, 4, 3, 4))) for _ in range(2))
    l1 = box_l1_loss(predicted, boxes, weight).numpy()
    distance = np.abs(predicted.numpy() - boxes.numpy()) / 35
    expected = (distance * w[:, :, None]).mean(axis=(0, 2, 3, 4))
    np.testing.assert_allclose(l1, expected)


def target(name: str, bbox: float, weight: float = 1.0) -> TargetClass:
    """Return a class whose boxes have an initial weight, which is their target too."""
    objective = Objective(name="bbox", initial_weight=bbox, weight_target=bbox)
    return TargetClass(name=name, class_weight=weight, objectives=(objective,))


def test_weights_are_set_from_the_last_epochs_losses() -> None:
    classes = (target("a", 10.0), target("b", 1.0, weight=3.0))
    config = CostFunctionConfig(
        target_classes=classes, enable_autoweighting=True, max_objective_weight=0.8
    )
    cost = CostFunction(config, torch.device("cpu"))
    np.testing.assert_allclose(cost.weight, [[1 / 11, 0.5], [10 / 11, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(cost.class_weight, [0.25, 0.75])
    rng = np.random.default_rng(0)
    grid = (3, 2, 4, 4)
    batch = {
        name: torch.from_numpy(rng.random(grid, np.float32))
        for name in ("box_weight", "coverage_weight")
    }
    batch["covered"] = (batch["box_weight"] > 0.5).float()
    batch["boxes"] = torch.zeros(3, 2, 4, 4, 4)
    predicted = torch.from_numpy(rng.normal(0, 60, (3, 2, 4, 4, 4)).astype(np.float32))
    logit = torch.zeros(grid)
    total, parts = cost(predicted, logit, batch)
    coverage = cross_entropy_loss(
        logit, batch["covered"], batch["coverage_weight"], torch.tensor([0.05] * 2)
    )
    box = box_l1_loss(predicted, batch["boxes"], batch["box_weight"])
    wanted = (coverage * cost.weight[0] + box * cost.weight[1]) @ torch.tensor([0.25, 0.75])
    torch.testing.assert_close(total, wanted)
    torch.testing.assert_close(parts["box"], box.sum())
    cost(predicted, logit, batch)
    kept = CostFunction(cost.cost, torch.device("cpu"))
    kept.load(cost.state())
    kept.end_epoch()
    share = torch.stack([torch.tensor([1.0, 1.0]) / coverage, torch.tensor([10.0, 1.0]) / box])
    share = (share / share.sum(dim=0)).clamp(0.0001, 0.8)
    torch.testing.assert_close(kept.weight, share)
    assert float(share.max()) == pytest.approx(0.8)
    fixed = CostFunction(CostFunctionConfig(target_classes=classes), torch.device("cpu"))
    fixed(predicted, logit, batch)
    before = fixed.weight.clone()
    fixed.end_epoch()
    torch.testing.assert_close(fixed.weight, before)


def test_equal_weights_leave_the_face_recipes_loss() -> None:
    rng = np.random.default_rng(1)
    faces = np.array([[100, 60, 180, 170], [400, 200, 440, 260]], np.float32)
    none = np.zeros((0, 4), np.float32)
    targets = build_targets(faces, none, GRID, classes=np.array([0, 1]), rules=two_classes())
    names = ("boxes", "covered", "box_weight", "coverage_weight")
    batch = {name: torch.from_numpy(getattr(targets, name))[None] for name in names}
    predicted = decode(torch.from_numpy(rng.random((1, 8, *GRID), np.float32)))
    logit = torch.from_numpy(rng.normal(size=(1, 2, *GRID)).astype(np.float32))
    own = FacekitCost(coverage_loss="QUALITY_FOCAL", bbox_loss="GIOU")
    equal = (target("a", 1.0), target("b", 1.0))
    cost = CostFunction(CostFunctionConfig(target_classes=equal, facekit=own), torch.device("cpu"))
    parts = detection_loss(predicted, logit, *(batch[name] for name in names))
    torch.testing.assert_close(cost(predicted, logit, batch)[0], sum(parts.values()))


def test_the_schedule_rises_stays_and_falls() -> None:
    schedule = SoftStartAnnealingSchedule(
        min_learning_rate=1e-5, max_learning_rate=1e-3, soft_start=0.2, annealing=0.6
    )
    expected = {0.0: 1e-5, 0.1: 1e-4, 0.2: 1e-3, 0.6: 1e-3, 0.8: 1e-4, 1.0: 1e-5}
    for progress, rate in expected.items():
        assert learning_rate(progress, schedule) == pytest.approx(rate)
    lowest = schedule.model_copy(update={"min_learning_rate": 0.0})
    assert learning_rate(0.0, lowest) < 1e-9


def test_overlap_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    second = torch.tensor([[5.0, 0.0, 15.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    iou, giou = overlap(first, second)
    torch.testing.assert_close(iou, torch.tensor([1 / 3, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(giou, torch.tensor([1 / 3, -1 / 3]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [3, 20])
def test_a_projection_is_a_strided_convolution_in_training_too(channels: int) -> None:
    torch.manual_seed(0)
    projection = Projection(channels, 6, 2)
    x = torch.rand(2, channels, 9, 8).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(projection.train()(x), projection.eval()(x))
    assert list(projection.state_dict()) == ["weight"]


@pytest.mark.parametrize("channels", [5, 16, 24, 88])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_gradients_in_bfloat16_are_those_in_float32(channels: int, dilation: int) -> None:
    torch.manual_seed(0)
    convolution = Convolution(channels, 40, 1, dilation).to(memory_format=torch.channels_last)
    x = torch.randn(2, channels, 26, 46).contiguous(memory_format=torch.channels_last)
    slope = torch.randn(2, 40, 26, 46).contiguous(memory_format=torch.channels_last)
    weights, inputs = [], []
    for half in (False, True):
        given = x.clone().requires_grad_()
        convolution.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = convolution.train()(given)
        out.backward(slope.to(out.dtype))
        weights.append(convolution.weight.grad)
        inputs.append(given.grad)
    for exact, found in (weights, inputs):
        assert float((found - exact).abs().max()) < 0.03 * float(exact.abs().max())
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution.eval()(x).dtype == torch.bfloat16


NARROW = """
import torch
from training.detector.network import DetectNet, resnet_layout

torch.set_num_threads(1)
model = DetectNet(resnet_layout(10, 2, (4, 8, 12, 15, 9))).to(memory_format=torch.channels_last)
for half in (False, True):
    x = torch.rand(3, 3, 96, 128).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            box, coverage = model.logits(x)
        (box.sum() + coverage.sum()).backward()
"""


def test_networks_pruned_to_a_few_channels_can_be_trained() -> None:
    # In a process of its own, with a heap that ends it where memory is written past its end.
    checked = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "5"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", NARROW], env=checked, cwd=root, check=False)
    assert done.returncode == 0


def test_the_network_learns_two_frames_by_heart() -> None:
    torch.manual_seed(0)
    faces = np.array([[40, 30, 90, 90]], np.float32), np.array([[20, 60, 50, 100]], np.float32)
    images = torch.zeros(2, 3, 128, 128)
    for image, (box,) in zip(images, faces, strict=True):
        x1, y1, x2, y2 = box.astype(int)
        image[:, y1:y2, x1:x2] = 1.0
    none = np.zeros((0, 4), np.float32)
    targets = [build_targets(face, none, (8, 8), ONE_CLASS) for face in faces]
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
