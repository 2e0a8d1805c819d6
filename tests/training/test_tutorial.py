"""The nine steps of the tutorial, by the real command lines, on ten tiny photos."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from PIL import Image  # noqa: E402

from facekit.cli import main as facekit  # noqa: E402
from facekit.evaluation.average_precision import iou_matrix  # noqa: E402
from facekit.labels.kitti import read_kitti  # noqa: E402
from tests.training.mask_set import (  # noqa: E402
    PHOTO,
    TESTED,
    TRAINED,
    Faces,
    write_mask_set,
)
from tests.training.network_outputs import onnx_outputs, torch_outputs  # noqa: E402
from tests.training.spec_edits import edited, quoted  # noqa: E402
from training.detector.__main__ import main as detector  # noqa: E402
from training.detector.files import read_network  # noqa: E402
from training.record import read_rows  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
SPECS = REPOSITORY / "training/specs"
FACENET = REPOSITORY / "training/specs/resnet18.onnx"
FRAME = (192, 128)
CLASSES = ("mask", "no-mask")
"""In the order of the network's channels."""
EPOCHS, EPOCHS_AGAIN = 40, 30
LEFT = 0.18
"""Share of the parameters that pruning leaves: so few that the network no longer finds faces."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mask_set(tmp_path_factory.mktemp("set"))


def test_nine_steps(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrained = step_1_weights_to_begin_with(tmp_path)
    kitti = step_2_data(photos, tmp_path, capsys)
    spec, unpruned = step_3_train(tmp_path, kitti, pretrained)
    before = step_4_evaluate_and_infer(tmp_path, kitti, spec, unpruned)
    pruned = step_5_prune(tmp_path, spec, unpruned, capsys)
    again, retrained = step_6_train_again(tmp_path, spec, pruned)
    step_7_evaluate_again(tmp_path, again, pruned, retrained, before)
    exported = step_9_export(tmp_path, unpruned, retrained)
    step_9_export_int8(tmp_path, kitti, again, retrained, exported)


def step_1_weights_to_begin_with(folder: Path) -> Path:
    """The committed face network becomes weights, and computes what it computed."""
    path = folder / "pretrained.pt"
    assert detector(["pretrained", "--from", str(FACENET), "-o", str(path)]) == 0
    frames = np.random.default_rng(0).random((1, 3, 416, 736), np.float32)
    for got, want in zip(torch_outputs(path, frames), onnx_outputs(FACENET, frames), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
    return path


def step_2_data(photos: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The photos become KITTI folders, split by their names, boxes and all in frame pixels."""
    kitti = folder / "kitti"
    options = ["--mask-detection-path", str(photos), "--kitti-base-path", str(kitti)]
    for side, pixels in zip(("width", "height"), FRAME, strict=True):
        options += [f"--tlt-input-dims_{side}", str(pixels)]
    faces: dict[str, Faces] = {}
    for path in (photos / "annotations").glob("*.xml"):
        names = re.findall(r"<name>(\w+)</name>", path.read_text())
        numbers = [int(text) for text in re.findall(r"<[xy]m\w\w>(\d+)<", path.read_text())]
        boxes = [tuple(numbers[k : k + 4]) for k in range(0, len(numbers), 4)]
        faces[path.stem] = list(zip(names, boxes, strict=True))  # type: ignore[arg-type]
    for part, flag, count in (("train", "--train", TRAINED), ("test", "--val", TESTED)):
        capsys.readouterr()
        assert facekit(["data", *options, flag]) == 0
        images = sorted((kitti / part / "images").iterdir())
        labels = sorted((kitti / part / "labels").iterdir())
        assert [p.stem for p in images] == [p.stem for p in labels]
        assert len(images) == count
        masked = 0
        for image, label in zip(images, labels, strict=True):
            with Image.open(image) as opened:
                assert opened.size == FRAME
            found = read_kitti(label)
            expected = faces[next(stem for stem in faces if label.stem.endswith(stem))]
            names = ["Mask" if name == "with_mask" else "No-Mask" for name, _ in expected]
            assert list(found.class_names) == names
            scale = np.tile(np.divide(FRAME, PHOTO), 2)
            want = np.array([box for _, box in expected]) * scale
            np.testing.assert_allclose(found.boxes_xyxy, want, atol=0.51)
            masked += names.count("Mask")
        final = f"Final: Total Mask Labelled:{masked}\nTotal No-Mask Labelled:{2 * count - masked}"
        assert final in capsys.readouterr().out
    return kitti


def step_3_train(folder: Path, kitti: Path, pretrained: Path) -> tuple[Path, Path]:
    """The committed spec, made short and small, trains a network."""
    spec = edited(
        SPECS / "mask_train.txt",
        folder / "train.txt",
        {
            "image_directory_path": quoted(kitti / "train"),
            "pretrained_model_file": quoted(pretrained),
            "output_image_width": str(FRAME[0]),
            "output_image_height": str(FRAME[1]),
            "width_share": "0.25",
            "batch_size_per_gpu": "4",
            "num_epochs": str(EPOCHS),
            "validation_period_during_training": "0",
            "average_decay": "0.9",
            "zoom_min": "0.9",
            "zoom_max": "1.1",
            "translate_max_x": "8",
            "translate_max_y": "8",
            "mosaic_probability": "0",
        },
        drop=("validation_fold", "crop_width", "crop_height", "whole_frame_period"),
    )
    return spec, train(spec, folder / "unpruned", EPOCHS)


def train(spec: Path, out: Path, epochs: int) -> Path:
    """Train, and see that the loss falls and that all is written down."""
    options = ["--threads", "1", "--workers", "0", "--device", "cpu"]
    assert detector(["train", "-e", str(spec), "-r", str(out), "-n", "mask", *options]) == 0
    rows = read_rows(out / "metrics.jsonl", "epoch")
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    assert (out / "metrics.png").stat().st_size > 10_000
    return out / "weights/mask.pt"


def precisions(folder: Path, spec: Path, model: Path, *options: str) -> dict[str, float]:
    """Measure a network by ``evaluate`` and return each class's average precision."""
    path = folder / "figures.json"
    arguments = ["evaluate", "-e", str(spec), "-m", str(model), "--json", str(path), *options]
    assert detector(arguments) == 0
    figures = json.loads(path.read_text())
    classes = figures["classes"]
    assert list(classes) == list(CLASSES)
    found = {name: float(classes[name]["average_precision"]) for name in CLASSES}
    mean = float(np.mean(list(found.values())))
    assert figures["mean_average_precision"] == pytest.approx(mean, abs=1e-5)
    assert all(classes[name]["faces"] > 0 for name in CLASSES)
    return found


def step_4_evaluate_and_infer(
    folder: Path, kitti: Path, spec: Path, model: Path
) -> dict[str, float]:
    """It finds the faces it was trained on, tells them apart, and draws them."""
    before = precisions(folder, spec, model, "--use_training_set")
    assert min(before.values()) > 0.9
    # The two photos it never saw are drawn by the same rules.
    assert min(precisions(folder, spec, model, "--data", str(kitti / "test")).values()) > 0.5

    infer = edited(
        SPECS / "mask_infer.txt",
        folder / "infer.txt",
        {"image_width": str(FRAME[0]), "image_height": str(FRAME[1]), "model": quoted(model)},
    )
    source, out = kitti / "train/images", folder / "found"
    assert detector(["infer", "-e", str(infer), "-i", str(source), "-o", str(out)]) == 0
    right = faces = 0
    for path in sorted(source.iterdir()):
        with Image.open(path) as plain, Image.open(out / "images_annotated" / path.name) as drawn:
            assert drawn.size == plain.size
            change = np.abs(
                np.asarray(plain.convert("RGB"), int) - np.asarray(drawn.convert("RGB"))
            )
            # Lines of a box on it, and not much else.
            assert 0.01 < (change.max(axis=2) > 60).mean() < 0.5
        true = read_kitti(kitti / "train/labels" / f"{path.stem}.txt")
        found = read_kitti(out / "labels" / f"{path.stem}.txt")
        overlap = iou_matrix(found.boxes_xyxy, true.boxes_xyxy)
        for k, name in enumerate(true.class_names):
            faces += 1
            same = [i for i, n in enumerate(found.class_names) if n == name.lower()]
            right += any(overlap[i, k] > 0.5 for i in same)
    assert faces == 2 * TRAINED
    assert right >= 0.8 * faces
    return before


def step_5_prune(folder: Path, spec: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Pruning leaves a smaller graph, of as many parameters as was asked for."""
    path = folder / "pruned.pt"
    capsys.readouterr()
    options = ["-eq", "union", "--parameters", str(LEFT), "-pg", "4", "-nf", "4"]
    assert detector(["prune", "-m", str(model), "-o", str(path), *options]) == 0
    whole, small = read_network(model), read_network(path)
    sizes = [network.build().parameter_count() for network in (small, whole)]
    assert f"{sizes[0]} of {sizes[1]} parameters are left" in capsys.readouterr().out
    assert 0.5 * LEFT * sizes[1] < sizes[0] <= LEFT * sizes[1]
    assert small.layout != whole.layout
    assert (small.classes, small.size_wh) == (whole.classes, whole.size_wh)
    return path


def step_6_train_again(folder: Path, spec: Path, pruned: Path) -> tuple[Path, Path]:
    """The pruned graph is trained again, and stays the pruned one."""
    schedule = {
        key: re.search(rf"(?m)^\s*{key}: (.*)$", spec.read_text())[1]  # type: ignore[index]
        for key in (
            "image_directory_path", "output_image_width", "output_image_height",
            "batch_size_per_gpu", "validation_period_during_training", "average_decay",
            "zoom_min", "zoom_max", "translate_max_x", "translate_max_y", "mosaic_probability",
        )
    }  # fmt: skip
    again = edited(
        SPECS / "mask_retrain.txt",
        folder / "retrain.txt",
        {**schedule, "pretrained_model_file": quoted(pruned), "num_epochs": str(EPOCHS_AGAIN)},
        drop=("validation_fold", "crop_width", "crop_height", "whole_frame_period"),
    )
    retrained = train_pruned(again, folder / "retrained")
    assert read_network(retrained).layout == read_network(pruned).layout
    return again, retrained


def train_pruned(spec: Path, out: Path) -> Path:
    options = ["--threads", "1", "--workers", "0", "--device", "cpu"]
    assert detector(["train", "-e", str(spec), "-r", str(out), "-n", "mask", *options]) == 0
    rows = read_rows(out / "metrics.jsonl", "epoch")
    assert len(rows) == EPOCHS_AGAIN
    assert np.mean([row["loss"] for row in rows[-3:]]) < np.mean([row["loss"] for row in rows[:3]])
    return out / "weights/mask.pt"


def step_7_evaluate_again(
    folder: Path, spec: Path, pruned: Path, retrained: Path, before: dict[str, float]
) -> None:
    """What pruning cost is learned again."""
    cut = precisions(folder, spec, pruned, "--use_training_set")
    after = precisions(folder, spec, retrained, "--use_training_set")
    # Without the training the test would fail: the cut network alone finds next to nothing.
    assert np.mean(list(cut.values())) < 0.6
    assert min(after.values()) > 0.85
    assert np.mean(list(after.values())) > np.mean(list(before.values())) - 0.1


def step_9_export(folder: Path, unpruned: Path, retrained: Path) -> Path:
    """The file computes what the network computes, under the contract's names."""
    files = {}
    for name, model in (("whole", unpruned), ("small", retrained)):
        files[name] = folder / name / "model.onnx"
        assert detector(["export", "-m", str(model), "-o", str(files[name])]) == 0
        assert (folder / name / "labels.txt").read_text() == "mask\nno-mask\n"
    assert files["small"].stat().st_size < 0.5 * files["whole"].stat().st_size
    graph = onnx.load(files["small"])
    assert (graph.opset_import[0].version, graph.ir_version) == (17, 8)
    assert [i.name for i in graph.graph.input] == ["input_1"]
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.graph.output]
    rows, columns = FRAME[1] // 16, FRAME[0] // 16
    assert shapes == [[0, 8, rows, columns], [0, 2, rows, columns]]
    frames = np.random.default_rng(1).random((3, 3, FRAME[1], FRAME[0]), np.float32)
    got, want = onnx_outputs(files["small"], frames), torch_outputs(retrained, frames)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    return files["small"]


def step_9_export_int8(
    folder: Path, kitti: Path, spec: Path, retrained: Path, exported: Path
) -> None:
    """In INT8 the file is smaller, and finds the faces as well."""
    path = folder / "int8/model.onnx"
    options = ["--cal_image_dir", str(kitti / "train/images"), "--batches", "2"]
    options += ["--batch_size", "4", "--data_type", "int8"]
    assert detector(["export", "-m", str(retrained), "-o", str(path), *options]) == 0
    graph = onnx.load(path).graph
    quantized = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) > 10
    assert path.stat().st_size < 0.6 * exported.stat().st_size
    full = precisions(folder, spec, exported, "--use_training_set")
    small = precisions(folder, spec, path, "--use_training_set")
    assert np.mean(list(small.values())) > np.mean(list(full.values())) - 0.1
