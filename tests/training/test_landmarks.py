from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from PIL import Image  # noqa: E402

from facekit.errors import DataError  # noqa: E402
from facekit.labels.pts import face_box  # noqa: E402
from facekit.landmarks.crops import crop_squares, cut_crops, to_photo  # noqa: E402
from tests.training.facesets import face_points, write_frames, write_sets  # noqa: E402
from training import checkpoints  # noqa: E402
from training.facesets import PORTRAIT_FOLDER, pts_photos  # noqa: E402
from training.landmarks.augment import (  # noqa: E402
    PATCH_FACE,
    PATCH_SIZE,
    Crops,
    FacePatch,
    hide,
    load_patches,
    make_patch,
    warp,
)
from training.landmarks.frames import FRAME_WEIGHT, SHIFT, frames  # noqa: E402
from training.landmarks.losses import POINT_LOSSES, map_loss, point_loss  # noqa: E402
from training.landmarks.network import (  # noqa: E402
    MAP_MARGIN,
    LandmarkNet,
    interpolation_matrix,
    map_places,
)
from training.landmarks.recipe import export  # noqa: E402

COMMITTED = Path(__file__).parents[2] / "model_repository/fpenet/1/model.onnx"


def test_interpolation_keeps_constants_and_ramps() -> None:
    matrix = interpolation_matrix(20, 80)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    ramp = matrix @ map_places().numpy()[MAP_MARGIN:-MAP_MARGIN]
    np.testing.assert_allclose(ramp[8:-8], np.arange(80)[8:-8], atol=1e-4)


def test_points_are_those_of_the_kit_s_crops(tmp_path: Path) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_FOLDER, complete=True))
    patch = make_patch(photo, 0)
    square = crop_squares(photo.boxes, size_wh=photo.image.size)
    scale = 80 / PATCH_FACE
    crop_points = (patch.points - PATCH_SIZE / 2) * scale + 40
    np.testing.assert_allclose(to_photo(crop_points[None], square)[0], photo.points[0], atol=1e-2)
    # And the picture lies where the points say, too.
    crop = cut_crops(np.asarray(photo.image.convert("L")), square)[0, 0]
    middle = PATCH_SIZE / 2
    reach = 40 / scale
    box = (middle - reach, middle - reach, middle + reach, middle + reach)
    same = np.asarray(patch.image.resize((80, 80), 2, box=box), dtype=np.float32)
    assert np.abs(same - crop)[20:60, 20:60].mean() < 12


def test_crops_do_not_depend_on_what_came_before(tmp_path: Path) -> None:
    crops = Crops(load_patches(write_sets(tmp_path)), seed=1)
    first = crops[3]
    assert first["crops"].shape == (32, 1, 80, 80)
    assert first["points"].shape == (32, 68, 2)
    crops[0]
    assert torch.equal(first["points"], crops[3]["points"])
    assert torch.equal(first["crops"], crops[3]["crops"])


def test_a_crop_is_that_of_the_turned_face_s_own_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_FOLDER, complete=True))
    patch = make_patch(photo, 0)
    monkeypatch.setattr("training.landmarks.augment.SCALE_SPREAD", 0)
    monkeypatch.setattr("training.landmarks.augment.SHIFT_SPREAD", 0)
    for seed in range(8):
        _, marks = warp(patch, np.random.default_rng(seed))
        box = face_box(marks)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, 40, atol=1e-3)
        assert (box[2:] - box[:2]).max() == pytest.approx(80, abs=1e-3)


def test_frames_are_split_by_person_moved_and_shown_less_often(tmp_path: Path) -> None:
    data = write_frames(write_sets(tmp_path))
    wrong: list[DataError] = []
    training, evaluation = (
        {photo.name: photo for photo in frames(data, 80, held_out, wrong.append)}
        for held_out in (False, True)
    )
    assert set(training) == {"q0_1", "q0_2"}
    assert set(evaluation) == {"q4_1", "q4_2"}
    assert not wrong
    (moved,) = training["q0_1"].points
    given = face_points((60, 75), 60)
    side = float(np.ptp(given[:, 1])) * 1.25
    np.testing.assert_allclose(moved[:68] - given, SHIFT * side, atol=1e-3)
    assert np.isnan(moved[68:]).all()
    patches = load_patches(data)
    assert [patch.weight for patch in patches] == [1.0] * 6 + [FRAME_WEIGHT] * 2
    # The one face of weight 0 is never drawn.
    blank = FacePatch(Image.new("L", (PATCH_SIZE, PATCH_SIZE)), np.full((68, 2), np.nan), 0)
    assert torch.isfinite(Crops([blank, patches[0], blank], seed=0)[0]["points"]).all()


def test_a_face_without_some_points_is_warped_and_hidden(tmp_path: Path) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_FOLDER, complete=True))
    patch = make_patch(photo, 0)
    points = patch.points.copy()
    # Points of the eyes: the box, and so the crop, is the same without them.
    points[[36, 39, 41]] = np.nan
    partial = FacePatch(patch.image, points)
    # What is absent moves with the mirror: the right eye becomes the left one.
    absent = set()
    for seed in range(8):
        image, whole = warp(patch, np.random.default_rng(seed))
        same, marks = warp(partial, np.random.default_rng(seed))
        assert same.tobytes() == image.tobytes()
        gone = np.flatnonzero(np.isnan(marks).any(axis=1))
        absent.add(tuple(gone.tolist()))
        np.testing.assert_array_equal(np.delete(marks, gone, 0), np.delete(whole, gone, 0))
        marks[0] = np.nan
        hide(same, marks, np.random.default_rng(seed))
    assert absent == {(36, 39, 41), (42, 45, 46)}


def test_hiding_draws_over_part_of_every_crop() -> None:
    points = np.random.default_rng(0).uniform(10, 70, (68, 2)).astype(np.float32)
    for marks in (points, np.full_like(points, np.nan)):
        for seed in range(12):
            image = Image.new("L", (80, 80), 128)
            hide(image, marks, np.random.default_rng(seed))
            drawn = float((np.asarray(image) != 128).mean())
            assert 0 < drawn < 1


@pytest.mark.parametrize("name", POINT_LOSSES)
def test_point_losses(name: str) -> None:
    true = torch.full((1, 2, 2), 40.0)
    assert point_loss(true, true, name) == 0
    costs = [float(point_loss(true + by, true, name)) for by in (1, 2, 8, 16)]
    assert costs == sorted(costs)
    expected = {
        "wing": 4 * np.log(1 + 1 / 0.8),
        "l1": 1.0,
        "l2": 1 / 8,
    }
    assert costs[0] == pytest.approx(expected[name])
    # Wing and L1 are as steep at 8 pixels as at 16; L2 is as steep as L1 at 4.
    if name != "l2":
        assert costs[3] - costs[2] == pytest.approx(8)
    predicted = (true + 4.0).requires_grad_()
    point_loss(predicted, true, name).backward()
    slope = predicted.grad.sum()
    assert slope == pytest.approx({"wing": 4 / 4.8, "l1": 1, "l2": 1}[name], abs=0.2)


@pytest.mark.parametrize("name", POINT_LOSSES)
def test_absent_points_cost_nothing_and_leave_no_gradient(name: str) -> None:
    true = torch.tensor([[[40.0, 40.0], [float("nan"), float("nan")], [20.0, 30.0]]])
    predicted = (torch.nan_to_num(true) + 3.0).requires_grad_()
    loss = point_loss(predicted, true, name)
    kept = [0, 2]
    assert float(loss.detach()) == pytest.approx(
        float(point_loss(predicted.detach()[:, kept], true[:, kept], name))
    )
    maps = torch.zeros(1, 3, 24, 24, requires_grad=True)
    entropy = map_loss(maps, true)
    expected = map_loss(maps.detach()[:, kept], true[:, kept])
    assert float(entropy.detach()) == pytest.approx(float(expected))
    (loss + entropy).backward()
    for gradient in (predicted.grad, maps.grad):
        assert bool(torch.isfinite(gradient).all())
        assert bool((gradient[:, 1] == 0).all())
        assert bool((gradient[:, kept] != 0).any())
    nothing = torch.full((1, 3, 2), float("nan"))
    assert point_loss(predicted, nothing, name) == 0
    assert map_loss(maps, nothing) == 0


def logs(maps: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(maps.flatten(2), dim=-1).view_as(maps)


def test_map_loss() -> None:
    true = torch.full((1, 2, 2), 40.0)
    maps = torch.zeros(1, 2, 24, 24)
    flat = map_loss(logs(maps), true)
    assert flat == pytest.approx(np.log(24 * 24))
    maps[:, :, 11:13, 11:13] = 8.0
    assert map_loss(logs(maps), true) < flat
    # A point that the crop cuts off is still on the maps.
    assert map_loss(logs(maps), true - 46) > flat
    assert map_loss(logs(maps), true - 100) == 0


def test_the_network_learns_two_crops_by_heart() -> None:
    torch.manual_seed(0)
    model = LandmarkNet(points=3, width=16)
    crops = torch.rand(2, 1, 80, 80) * 255
    points = torch.rand(2, 3, 2) * 60 + 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        _, found, _ = model(crops)
        loss = point_loss(found, points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float((found.detach() - points).abs().mean()))
    assert errors[-1] < 0.5 * errors[0]


def test_outputs_come_from_the_network_s_own_maps() -> None:
    model = LandmarkNet().eval()
    crops = torch.rand(1, 1, 80, 80) * 255
    with torch.no_grad():
        maps, points, peaks = model(crops)
        own = model.small_maps(crops)
    assert maps.shape == (1, 68, 80, 80)
    chance = torch.softmax(own.flatten(2), dim=-1).reshape(own.shape)
    places = torch.arange(-6.5, 86, 4)
    x = (chance.sum(dim=2) * places).sum(dim=-1)
    y = (chance.sum(dim=3) * places).sum(dim=-1)
    torch.testing.assert_close(points, torch.stack([x, y], dim=-1), atol=1e-3, rtol=0)
    torch.testing.assert_close(peaks, chance.flatten(2).amax(-1) / 16)
    # A point below the crop's last pixel can be found.
    sure = torch.zeros(24, 24)
    sure[-1, 10] = 1
    assert model.locate(sure.reshape(1, 1, -1)).flatten().tolist() == [33.5, 85.5]
    # The large maps show the part inside the crop: the mean of a cell's pixels is close to it.
    cells = maps.unflatten(2, (20, 4)).unflatten(4, (20, 4)).mean(dim=(3, 5))
    inside = own[:, :, 2:-2, 2:-2]
    assert float((cells - inside).abs().mean()) < 0.3 * float(inside.std())


@pytest.mark.parametrize("count", [68, 80, 104])
def test_exported_file_has_the_contract_and_agrees(tmp_path: Path, count: int) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    state = LandmarkNet(count).state_dict()
    checkpoints.save_checkpoint(checkpoint, {"average": state, "step": 5, "seed": 1})
    path = tmp_path / "model.onnx"
    assert export(checkpoint, path) < 1e-4
    graph = onnx.load(path)
    assert [i.name for i in graph.graph.input] == ["input_face_images"]
    names = [o.name for o in graph.graph.output]
    assert names == ["conv_keypoints_m80", "softargmax", "softargmax:1"]
    assert graph.ir_version == 8
    assert graph.opset_import[0].version == 17
    assert graph.producer_name == "facekit"
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.graph.output]
    assert shapes == [[0, count, 80, 80], [0, count, 2], [0, count]]


def test_the_network_is_the_committed_one_s(tmp_path: Path) -> None:
    """The committed file's checkpoint is not kept; its graph has to come out as it did."""
    checkpoint, path = tmp_path / "checkpoint.pt", tmp_path / "model.onnx"
    # Random values: equal ones would be stored once.
    chance = torch.Generator().manual_seed(0)
    state = LandmarkNet().state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=chance) * 0.1 + 0.1)
    checkpoints.save_checkpoint(checkpoint, {"average": state, "step": 5, "seed": 1})
    export(checkpoint, path)
    ours, committed = (onnx.load(file).graph for file in (path, COMMITTED))
    assert [node.op_type for node in ours.node] == [node.op_type for node in committed.node]

    def sizes(graph: onnx.GraphProto) -> list[tuple[int, ...]]:
        return [tuple(weights.dims) for weights in graph.initializer]

    assert sizes(ours) == sizes(committed)
    assert sum(value.numel() for value in LandmarkNet().parameters()) == 964_564
