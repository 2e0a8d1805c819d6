"""``export`` writes files that agree with PyTorch and that every runtime reads; ``prune`` too."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from PIL import Image  # noqa: E402

from facekit.errors import DataError  # noqa: E402
from tests.training.detectors import CLASSES, FRAME_WH, write_photo  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.files import open_detector, read_network  # noqa: E402
from training.detector.inference import (  # noqa: E402
    OnnxDetector,
    TorchDetector,
    network_input,  # noqa: E402
)
from training.detector.network import DetectNet, resnet_layout  # noqa: E402
from training.detector.saved import SavedNetwork, save_network  # noqa: E402
from training.export import write_onnx  # noqa: E402

LAYOUT = resnet_layout(18, 2, (16, 16, 24, 32, 40), dilate=True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A network with the statistics of frames that it saw, as after a training."""
    torch.manual_seed(0)
    model = DetectNet(LAYOUT).train()
    with torch.no_grad():
        model.coverage.weight.normal_(std=0.5)
        model.bbox.weight.normal_(std=0.2)
        for _ in range(20):
            model(torch.rand(2, 3, 96, 160))
    path = tmp_path / "network.pt"
    save_network(
        path, SavedNetwork(LAYOUT, CLASSES, FRAME_WH, model.state_dict(), epoch=3, step=40)
    )
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(6):
        write_photo(tmp_path / "photos" / f"{seed}.jpg", seed=seed)
    return tmp_path / "photos"


def test_the_exported_file(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "out/model.onnx"
    assert main(["export", "-m", str(checkpoint), "-o", str(path)]) == 0
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert {p.key: p.value for p in model.metadata_props} == {
        "classes": "bare,covered",
        "parameters": str(DetectNet(LAYOUT).parameter_count()),
        "epoch": "3",
        "step": "40",
        "seed": "0",
    }
    assert (tmp_path / "out/labels.txt").read_text() == "bare\ncovered\n"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tensors = [*session.get_inputs(), *session.get_outputs()]
    assert [(t.name, t.shape) for t in tensors] == [
        ("input_1", ["batch", 3, 192, 320]),
        ("output_bbox/BiasAdd", ["batch", 8, 12, 20]),
        ("output_cov/Sigmoid", ["batch", 2, 12, 20]),
    ]
    expected = open_detector(checkpoint)
    assert isinstance(expected, TorchDetector)
    for count in (1, 3):
        frames = np.random.default_rng(count).random((count, 3, 192, 320), np.float32)
        for got, want in zip(OnnxDetector(path).run(frames), expected.run(frames), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-4, rtol=1e-4)
    # The file can be gone on from: it holds the network itself.
    assert read_network(path).layout == LAYOUT


def test_int8(
    tmp_path: Path, checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (photos / "1.jpg").write_bytes(b"damaged")
    plain, path = tmp_path / "plain.onnx", tmp_path / "int8.onnx"
    assert main(["export", "-m", str(checkpoint), "-o", str(plain)]) == 0
    arguments = ["export", "-m", str(checkpoint), "-o", str(path), "--data_type", "int8"]
    with caplog.at_level(logging.WARNING, logger="training"):
        assert main([*arguments, "--cal_image_dir", str(photos), "--batches", "2"]) == 0
    assert "calibrated with 5 photos" in capsys.readouterr().out
    assert str(photos / "1.jpg") in caplog.text
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert {o.domain: o.version for o in model.opset_import}[""] == 17
    notes = {p.key: p.value for p in model.metadata_props}
    assert (notes["classes"], notes["int8_calibration_photos"]) == ("bare,covered", "5")
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    source = {node.output[0]: node for node in model.graph.node}
    kinds = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = source.get(node.input[1])
            quantized = weight is not None and weight.op_type == "DequantizeLinear"
            kinds.append(quantized)
            if quantized:
                assert weights[weight.input[0]].dtype == np.int8
                # A scale for every filter.
                assert weights[weight.input[1]].shape == weights[weight.input[0]].shape[:1]
    # All but the two heads.
    assert kinds == [True] * (len(kinds) - 2) + [False, False]
    zeros = [weights[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert path.stat().st_size < 0.45 * plain.stat().st_size
    # What it computes is near to float32, and is not the same.
    with Image.open(photos / "0.jpg") as image:
        frames = network_input(image, FRAME_WH)[None]
    for got, want in zip(
        OnnxDetector(path).run(frames), OnnxDetector(plain).run(frames), strict=True
    ):
        assert np.abs(got - want).max() > 1e-5
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.9
    with pytest.raises(DataError):
        read_network(path)


def save_plain(path: Path, inputs: dict[str, list[object]], outputs: int) -> Path:
    """Write a graph of nothing but copies, with the inputs' shapes."""
    kind, name = onnx.TensorProto.FLOAT, next(iter(inputs))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [name], [f"out{k}"]) for k in range(outputs)],
        "plain",
        [onnx.helper.make_tensor_value_info(n, kind, shape) for n, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(f"out{k}", kind, None) for k in range(outputs)],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save_model(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({"a": ["n", 3, "h", "w"]}, 2, r"has a free frame size, \['n', 3, 'h', 'w'\]"),
        ({"a": ["n", 3, 64, 96], "b": ["n"]}, 2, "2 inputs and 2 outputs"),
        ({"a": ["n", 3, 64, 96]}, 1, "1 inputs and 1 outputs"),
        ({"a": ["n", 1, 80, 80]}, 2, r"not a detector: its input is \['n', 1, 80, 80\]"),
    ],
)
def test_a_file_of_another_graph_is_refused(
    tmp_path: Path, inputs: dict[str, list[object]], outputs: int, reason: str
) -> None:
    path = save_plain(tmp_path / "plain.onnx", inputs, outputs)
    with pytest.raises(DataError, match=rf"plain\.onnx: .*{reason}"):
        OnnxDetector(path)


def test_int8_needs_photos(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "int8.onnx"
    arguments = ["export", "-m", str(checkpoint), "-o", str(path), "--data_type", "int8"]
    assert main(arguments) == 2
    assert "--cal_image_dir" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    assert main([*arguments, "--cal_image_dir", str(tmp_path / "bad")]) == 2
    assert "contains no photos" in capsys.readouterr().err
    (tmp_path / "bad/a.jpg").write_bytes(b"none")
    assert main([*arguments, "--cal_image_dir", str(tmp_path / "bad")]) == 2
    assert "contains no photo to calibrate by" in capsys.readouterr().err
    assert not path.exists()


def test_prune_writes_a_smaller_network(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pruned.pt"
    arguments = ["prune", "-m", str(checkpoint), "-o", str(path), "-nf", "4", "-pg", "4"]
    assert main([*arguments, "--parameters", "0.5", "-eq", "intersection"]) == 0
    whole, small = read_network(checkpoint), read_network(path)
    assert (small.classes, small.size_wh) == (whole.classes, whole.size_wh)
    before, after = whole.build().parameter_count(), small.build().parameter_count()
    assert after <= 0.5 * before
    printed = capsys.readouterr().out
    assert f"{after} of {before} parameters are left" in printed
    assert f"stem             {small.layout.stem:4d} of   16" in printed
    # Nothing is below a threshold of 0, and a key is of no use.
    assert main([*arguments, "-pth", "0", "-k", "key"]) == 0
    assert read_network(path).layout == whole.layout


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--parameters", "0.0001"], "can't be reached"),
        (["-pth", "2"], "from 0 to 1"),
        (["-nf", "0"], "a whole number >= 1"),
        (["-eq", "both"], "invalid choice"),
        (["-m", "none.pt"], "none.pt: no such file"),
    ],
)
def test_prune_refuses(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], more: list[str],
    reason: str,
) -> None:  # fmt: skip
    path = tmp_path / "pruned.pt"
    try:
        status: object = main(["prune", "-m", str(checkpoint), "-o", str(path), *more])
    except SystemExit as stopped:
        status = stopped.code
    assert status not in (0, None)
    assert reason in capsys.readouterr().err + str(status)
    assert not path.exists()


class Drifting(torch.nn.Module):
    """Gives more with every call, so that no file can compute the same."""

    calls = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        self.calls += 1
        return (x * self.calls,)


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match="y of the file differs by"):
        write_onnx(Drifting(), torch.ones(2, 3), path, "x", ("y",), "", {})
    assert not path.exists()
