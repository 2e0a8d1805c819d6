"""The file in half precision beside an exported one: FP16 inside, FP32 outside and in the heads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from training.export import write_onnx  # noqa: E402
from training.half import SOURCE_KEY, in_half  # noqa: E402

ROOT = Path(__file__).parents[2]
NAMES = ("facenet", "facemask", "fpenet")
NETWORKS = [ROOT / "model_repository" / name / "1" / "model.onnx" for name in NAMES]
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


class Tiny(nn.Module):
    """A body, a head behind a cast, and an output of the body without one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        body = torch.relu(self.body(image - 0.5))
        grown = nn.functional.interpolate(body, scale_factor=2.0)
        maps = self.head(grown.float())
        flat = maps.reshape(maps.shape[0], 2, -1)
        return torch.softmax(flat, -1).amax(-1), body


class Pair(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(image), image


def run(path: Path, names: Sequence[str], image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(list(names), {session.get_inputs()[0].name: image}))


def types(path: Path) -> dict[str, int]:
    """The type of every tensor of a file."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    every = (*graph.input, *graph.value_info, *graph.output)
    return {each.name: each.type.tensor_type.elem_type for each in every}


def operands(path: Path, kind: str) -> list[set[int]]:
    """The types that each operator of a kind gets and gives."""
    graph = onnx.load(path).graph
    known = types(path) | {each.name: each.data_type for each in graph.initializer}
    constants = [node for node in graph.node if node.op_type == "Constant"]
    known |= {node.output[0]: node.attribute[0].t.data_type for node in constants}
    return [
        {known[name] for name in (*node.input, *node.output) if name}
        for node in graph.node
        if node.op_type == kind
    ]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "tiny.onnx"
    write_onnx(Tiny(), torch.rand(2, 1, 8, 8), path, "image", ["points", "body"], "tiny", {})
    return path


def test_export_writes_a_file_in_half_precision_beside_it(exported: Path) -> None:
    half = exported.with_name("tiny.fp16.onnx")
    model = onnx.load(half)
    notes = {each.key: each.value for each in model.metadata_props}
    assert notes[SOURCE_KEY] == hashlib.sha256(exported.read_bytes()).hexdigest()
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == [
        "image",
        "points",
        "body",
    ]


def test_body_computes_in_half_precision_and_head_and_tensors_outside_do_not(
    exported: Path,
) -> None:
    half = exported.with_name("tiny.fp16.onnx")
    assert operands(half, "Conv") == [{HALF}, {FLOAT}]
    assert operands(half, "Relu") == operands(half, "Sub") == [{HALF}]
    assert operands(half, "Resize") == [{HALF, FLOAT}]  # the scales are no data
    assert operands(half, "Softmax") == [{FLOAT}]
    assert {types(half)[name] for name in ("image", "points", "body")} == {FLOAT}


def test_weights_that_torch_wrote_once_are_in_half_precision_too(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    for layer in (network[0], network[2]):
        nn.init.zeros_(layer.bias)
    pair = Pair(network)
    path = tmp_path / "tiny.onnx"
    write_onnx(pair, torch.rand(2, 1, 8, 8), path, "image", ["a", "b"], "tiny", {})
    # Of the bias, and of the image.
    assert len(operands(path, "Identity")) == 2
    half = tmp_path / "tiny.fp16.onnx"
    assert operands(half, "Conv") == [{HALF}] * 2
    assert operands(half, "Identity") == [{HALF}]


def test_both_files_give_nearly_the_same(exported: Path) -> None:
    image = np.random.default_rng(1).random((3, 1, 8, 8), np.float32)
    files = (exported, exported.with_name("tiny.fp16.onnx"))
    both = [run(path, ["points", "body"], image) for path in files]
    for whole, half in zip(*both, strict=True):
        assert half.dtype == np.float32
        assert 0 < np.abs(whole - half).max() < 2e-3


@pytest.mark.parametrize("network", NETWORKS, ids=lambda path: path.parts[-3])
def test_half_precision_file_of_the_kit_is_made_of_its_network(network: Path) -> None:
    made = onnx.load_from_string(in_half(network.read_bytes()))
    assert made == onnx.load(network.with_suffix(".fp16.onnx")), (
        "make it again: training.half.in_half of model.onnx"
    )
