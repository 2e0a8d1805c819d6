from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from facekit.landmarks.crops import crop_squares, cut_crops, to_photo  # noqa: E402
from tests.training.facesets import write_sets  # noqa: E402
from training import runs  # noqa: E402
from training.data.photos import PORTRAIT_FOLDER, pts_photos  # noqa: E402
from training.landmarks.augment import (  # noqa: E402
    EXPAND,
    PATCH_FACE,
    PATCH_SIZE,
    Crops,
    load_patches,
    make_patch,
)
from training.landmarks.evaluate import point_errors  # noqa: E402
from training.landmarks.export import export  # noqa: E402
from training.landmarks.losses import map_loss, wing_loss  # noqa: E402
from training.landmarks.network import (  # noqa: E402
    LandmarkNet,
    interpolation_matrix,
    map_places,
)


def test_interpolation_keeps_constants_and_ramps() -> None:
    matrix = interpolation_matrix(20, 80)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    ramp = matrix @ map_places(20).numpy()
    np.testing.assert_allclose(ramp[8:-8], np.arange(80)[8:-8], atol=1e-4)


def test_points_are_those_of_the_kit_s_crops(tmp_path: Path) -> None:
    photo = next(pts_photos(write_sets(tmp_path) / PORTRAIT_FOLDER, complete=True))
    patch = make_patch(photo, 0)
    square = crop_squares(photo.boxes, size_wh=photo.image.size, expand=EXPAND)
    scale = 80 / (PATCH_FACE * EXPAND)
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
    crops = Crops(load_patches(write_sets(tmp_path)), seed=1, steps=5)
    first = crops[3]
    assert first["crops"].shape == (32, 1, 80, 80)
    assert first["points"].shape == (32, 68, 2)
    crops[0]
    assert torch.equal(first["points"], crops[3]["points"])
    assert torch.equal(first["crops"], crops[3]["crops"])


def test_wing_and_map_loss() -> None:
    true = torch.full((1, 2, 2), 40.0)
    assert wing_loss(true, true) == 0
    assert wing_loss(true + 1, true) < wing_loss(true + 8, true)
    maps = torch.zeros(1, 2, 80, 80)
    flat = map_loss(maps, true)
    maps[:, :, 39:42, 39:42] = 8.0
    assert map_loss(maps, true) < flat
    assert map_loss(maps, true - 100) == 0


def test_the_network_learns_two_crops_by_heart() -> None:
    torch.manual_seed(0)
    model = LandmarkNet(points=3, width=16)
    model.set_map_size(40)
    crops = torch.rand(2, 1, 80, 80) * 255
    points = torch.rand(2, 3, 2) * 60 + 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        _, found, _ = model(crops)
        loss = wing_loss(found, points)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float((found.detach() - points).abs().mean()))
    assert errors[-1] < 0.5 * errors[0]


def test_outputs_are_the_softargmax_of_the_maps() -> None:
    model = LandmarkNet().eval()
    with torch.no_grad():
        maps, points, peaks = model(torch.rand(1, 1, 80, 80) * 255)
    assert maps.shape == (1, 68, 80, 80)
    chance = torch.softmax(maps.flatten(2), dim=-1).reshape(maps.shape)
    steps = torch.arange(80.0)
    x = (chance.sum(dim=2) * steps).sum(dim=-1)
    y = (chance.sum(dim=3) * steps).sum(dim=-1)
    torch.testing.assert_close(points, torch.stack([x, y], dim=-1), atol=1e-3, rtol=0)
    torch.testing.assert_close(peaks, chance.flatten(2).amax(-1))


def test_exported_file_has_the_contract_and_agrees(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    state = LandmarkNet().state_dict()
    runs.save_checkpoint(checkpoint, {"average": state, "step": 5, "seed": 1})
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
    assert shapes == [[0, 68, 80, 80], [0, 68, 2], [0, 68]]


def test_errors_are_shares_of_the_eye_distance() -> None:
    true = np.zeros((68, 2), np.float32)
    true[36], true[45] = (10, 0), (60, 0)
    found = true + np.array([3, 4], np.float32)
    np.testing.assert_allclose(point_errors(found, true), 0.1, atol=1e-6)
