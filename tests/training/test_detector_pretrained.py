from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from facekit.errors import DataError  # noqa: E402
from tests.training.tiny_detector import make_experiment, write_kitti  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.files import read_network  # noqa: E402
from training.detector.network import (  # noqa: E402
    BBOX_NAME,
    COVERAGE_NAME,
    INPUT_NAME,
    DetectNet,
    resnet_layout,
)
from training.detector.pretrained import (  # noqa: E402
    load_pretrained,
    make_layout,  # noqa: E402
    unfold_norms,
)
from training.detector.saved import SavedNetwork, save_network  # noqa: E402
from training.detector.train import train  # noqa: E402
from training.experiment.training import FacekitModel, ModelConfig  # noqa: E402
from training.export import write_onnx  # noqa: E402
from training.loop import Machine  # noqa: E402

NARROW = (4, 4, 8, 8, 12)
WIDE = (6, 8, 8, 16, 24)


def lively(classes: int, channels: tuple[int, ...] = NARROW, seed: int = 0) -> DetectNet:
    """Return a network whose norms have statistics, and heads that tell frames apart."""
    torch.manual_seed(seed)
    model = DetectNet(resnet_layout(10, classes, channels, dilate=True))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for head in (model.bbox, model.coverage):
            head.weight.normal_(0, 0.2)
            head.bias.normal_()
    return model.eval()


def network(model: DetectNet, *names: str, folded: bool = False) -> SavedNetwork:
    return SavedNetwork(model.layout, names, (128, 96), dict(model.state_dict()), folded)


def frames(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 96, 128, generator=torch.Generator().manual_seed(1))


def write(model: DetectNet, path: Path, notes: dict[str, str] | None = None) -> Path:
    write_onnx(model, frames(), path, INPUT_NAME, (BBOX_NAME, COVERAGE_NAME), "tiny", notes or {})
    return path


def test_a_wider_network_begins_with_what_the_narrow_one_computes() -> None:
    small = lively(1)
    wide = lively(2, WIDE, seed=3)
    fresh = wide.stage3[0].conv1.weight[8:].clone()
    assert load_pretrained(wide, network(small, "face"), ("mask", "no-mask")) == []
    with torch.no_grad():
        box, coverage = small(frames())
        found_box, found_coverage = wide(frames())
    for index in range(2):
        torch.testing.assert_close(found_coverage[:, index : index + 1], coverage)
        torch.testing.assert_close(found_box[:, 4 * index : 4 * index + 4], box)
    # What the narrow one did not have stays as initialized, and can learn.
    assert torch.equal(wide.stage3[0].conv1.weight[8:], fresh)


def test_heads_go_by_name_then_by_place() -> None:
    two = lively(2)
    swapped, placed = lively(2, seed=5), lively(2, seed=5)
    load_pretrained(swapped, network(two, "no-mask", "mask"), ("mask", "no-mask"))
    load_pretrained(placed, network(two, "a", "b"), ("mask", "no-mask"))
    with torch.no_grad():
        box, coverage = two(frames())
        swapped_box, swapped_coverage = swapped(frames())
        torch.testing.assert_close(placed(frames())[1], coverage)
    torch.testing.assert_close(swapped_coverage, coverage.flip(1))
    torch.testing.assert_close(swapped_box, torch.cat([box[:, 4:], box[:, :4]], dim=1))


def test_another_depth_says_what_it_left(tmp_path: Path) -> None:
    deep = DetectNet(resnet_layout(18, 1, NARROW))
    missing = load_pretrained(deep, network(lively(1), "face"), ("face",))
    assert missing
    assert all(".1." in name for name in missing)


def test_an_onnx_file_comes_back_as_the_same_network(tmp_path: Path) -> None:
    small = lively(2)
    path = write(small, tmp_path / "model.onnx", {"classes": "mask,no-mask"})
    found = read_network(path)
    assert found.layout == small.layout
    assert found.classes == ("mask", "no-mask")
    assert found.size_wh == (128, 96)
    assert found.folded
    again = found.build()
    with torch.no_grad():
        for one, two in zip(again(frames()), small(frames()), strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_unfolded_norms_change_nothing_and_normalize_in_training(tmp_path: Path) -> None:
    model = read_network(write(lively(1), tmp_path / "model.onnx")).build()
    images = frames(6)
    with torch.no_grad():
        before = model(images)
        folded_in_training = model.train()(images)[1]
        model.load_state_dict(read_network(tmp_path / "model.onnx").weights)
        model.eval()
        unfold_norms(model, [images[:3], images[3:]])
        assert not model.training
        for one, two in zip(model(images), before, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
        in_training = model.train()(images)[1]
    # With statistics of the same frames, training computes what evaluation does.
    torch.testing.assert_close(in_training, before[1], atol=2e-3, rtol=1e-2)
    assert float((folded_in_training - before[1]).abs().max()) > 0.05


def test_what_is_no_network_of_the_kit_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.onnx: no such file"):
        read_network(tmp_path / "no.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"bad\.onnx: is not a usable ONNX file"):
        read_network(tmp_path / "bad.onnx")
    graph = onnx.load(write(lively(1), tmp_path / "model.onnx"))
    node = next(n for n in graph.graph.node if n.op_type == "Sigmoid")
    node.op_type = "Tanh"
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(DataError, match=r"other\.onnx: is not a DetectNet_v2 of this kit"):
        read_network(tmp_path / "other.onnx")
    torch.save({"kind": "landmarks"}, tmp_path / "lm.pt")
    with pytest.raises(DataError, match=r"lm\.pt: is not a checkpoint of the detector"):
        read_network(tmp_path / "lm.pt")
    short = network(lively(1), "face")
    short.weights.pop("stem.weight")
    save_network(tmp_path / "short.pt", short)
    with pytest.raises(DataError, match=r"short\.pt: .*stem\.weight is missing"):
        read_network(tmp_path / "short.pt")


def test_the_command_writes_weights_that_a_spec_can_begin_with(tmp_path: Path) -> None:
    path = write(lively(1), tmp_path / "model.onnx")
    out = tmp_path / "pretrained.pt"
    assert main(["pretrained", "--from", str(path), "-o", str(out)]) == 0
    assert read_network(out).folded
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(
        source, tmp_path, pretrained_model_file=out, load_graph=True,
        num_epochs=1,
    )  # fmt: skip
    final = train(experiment, tmp_path / "run", Machine(1, 0, "cpu"))
    found = read_network(final)
    assert found.layout.stem == NARROW[0]
    assert found.layout.classes == 2
    assert not found.folded


def test_layouts_of_a_spec() -> None:
    half = make_layout(ModelConfig(facekit=FacekitModel(width_share=0.5, dilate=True)), 2)
    assert half.stem == 32
    assert [stage.outputs for stage in half.stages] == [32, 64, 128, 256]
    assert half.stages[-1].dilations == (2, 2, 4, 2)

    def dilated(layers: int) -> tuple[int, ...]:
        config = ModelConfig(num_layers=layers, facekit=FacekitModel(dilate=True))
        return make_layout(config, 1).stages[-1].dilations

    assert dilated(34) == (2, 2, 4, 2, 2, 2)
    assert dilated(10) == (2, 2)
    deep = make_layout(ModelConfig(num_layers=34), 1)
    assert np.prod([len(s.inners) for s in deep.stages]) == 3 * 4 * 6 * 3
