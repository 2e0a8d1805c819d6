from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from facekit.errors import DataError, FacekitError  # noqa: E402
from tests.training.tiny_detector import make_experiment, write_kitti  # noqa: E402
from training.checkpoints import load_checkpoint  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.files import read_network  # noqa: E402
from training.detector.recipe import DetectorRecipe, learning_rate  # noqa: E402
from training.detector.train import train  # noqa: E402
from training.experiment.spec import Experiment  # noqa: E402
from training.loop import Machine, fit  # noqa: E402

MACHINE = Machine(threads=1, workers=0, device="cpu")


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = load_checkpoint(first), load_checkpoint(second)
    for part in ("model", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name


def test_a_run_learns_and_leaves_its_records(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 6, extra="odd")
    experiment = make_experiment(
        source, tmp_path, num_epochs=30, checkpoint_interval=10,
        validation_period_during_training=15, first_validation_epoch=10,
    )  # fmt: skip
    path = train(experiment, tmp_path / "run", MACHINE, "tiny")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert [row["epoch"] for row in rows if "mAP" in row] == [10, 25, 30]
    last = rows[-1]
    assert last["mAP"] == pytest.approx((last["AP mask"] + last["AP no-mask"]) / 2)
    assert last["mAP"] > 0.5
    assert path == tmp_path / "run/weights/tiny.pt"
    kept = sorted(p.name for p in path.parent.iterdir())
    assert kept == ["epoch-010.pt", "epoch-020.pt", "tiny.pt"]
    network = read_network(path)
    assert network.classes == ("mask", "no-mask")
    assert (network.size_wh, network.epoch, network.seed) == ((128, 96), 30, 5)
    average = load_checkpoint(tmp_path / "run/checkpoint.pt")["average"]
    assert all(torch.equal(value, average[name]) for name, value in network.weights.items())
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["spec"] == experiment.path.read_text()
    with Image.open(tmp_path / "run/metrics.png") as plot:
        pixels = np.asarray(plot.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50


def test_a_seed_gives_the_same_run_with_any_workers(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 4)
    experiment = make_experiment(source, tmp_path)
    train(experiment, tmp_path / "one", MACHINE)
    train(experiment, tmp_path / "two", replace(MACHINE, workers=1))
    assert_same_weights(tmp_path / "one/checkpoint.pt", tmp_path / "two/checkpoint.pt")
    train(make_experiment(source, tmp_path, random_seed=6), tmp_path / "three", MACHINE)
    weights = [read_network(tmp_path / n / "weights/model.pt").weights for n in ("one", "three")]
    assert not torch.equal(weights[0]["stem.weight"], weights[1]["stem.weight"])


CHILD = """
    import sys, time
    from pathlib import Path
    from training.detector.recipe import DetectorRecipe, learning_rate  # noqa: E402
    from training.experiment.spec import read_experiment
    from training.loop import Machine, fit

    folder = Path(sys.argv[1])

    class Slow(DetectorRecipe):
        save_every = 2

        def step(self, model, step, batch):
            if step == 5:
                (folder / "at5").touch()
                time.sleep(60)
            return super().step(model, step, batch)

    recipe = Slow(read_experiment(folder / "spec.txt"))
    fit(recipe, folder / "killed", Machine(threads=1, workers=0, device="cpu"))
"""


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 7)
    # An epoch has 7 / 3 steps: the run is killed within its third one, after a save at step 4.
    experiment = make_experiment(source, tmp_path, num_epochs=4, enable_autoweighting=True)
    train(experiment, tmp_path / "whole", MACHINE)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "at5").exists() and time.monotonic() < deadline:
        assert child.poll() is None, child.communicate()[1].decode()
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert load_checkpoint(tmp_path / "killed/checkpoint.pt")["step"] in (4, 5)
    train(experiment, tmp_path / "killed", MACHINE)
    assert_same_weights(tmp_path / "whole/checkpoint.pt", tmp_path / "killed/checkpoint.pt")
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    for one, two in zip(*rows, strict=True):
        one.pop("seconds a step"), two.pop("seconds a step")
        assert one == pytest.approx(two)


def test_a_finished_run_is_left_alone_and_another_spec_refused(tmp_path: Path) -> None:
    source, out = write_kitti(tmp_path / "data", 3), tmp_path / "run"
    experiment = make_experiment(source, tmp_path)
    train(experiment, out, MACHINE)
    before = (out / "checkpoint.pt").read_bytes()
    train(experiment, out, MACHINE)
    assert (out / "checkpoint.pt").read_bytes() == before
    with pytest.raises(DataError, match=r"checkpoint\.pt: has random_seed 5, the spec 9"):
        train(make_experiment(source, tmp_path, random_seed=9), out, MACHINE)
    names = replace(experiment.dataset, class_names=("no-mask", "mask"))
    with pytest.raises(DataError, match="has classes"):
        train(replace(experiment, dataset=names), out, MACHINE)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"batch_size_per_gpu": 2}, r"has training_config\.batch_size_per_gpu 3, the spec 2"),
        # A run that goes on does not need the file.
        ({"pretrained_model_file": tmp_path / "x.pt"}, r"pretrained_model_file , the spec .*x\.pt"),
        ({"zoom_max": 1.3}, r"spatial_augmentation\.zoom_max 1\.1, the spec 1\.3"),
        ({"bbox_loss": "L1"}, r"cost_function_config\.facekit\.bbox_loss GIOU, the spec L1"),
    ]
    for change, reason in changes:
        with pytest.raises(DataError, match=reason):
            train(make_experiment(source, tmp_path, **change), out, MACHINE)
    others = [
        ({"training": (source, source)}, r"dataset\.training\[1\]\.image_folder nothing"),
        (
            {"class_of": {"mask": "mask", "no-mask": "no-mask", "odd": "mask"}},
            r"dataset\.class_of\.odd nothing, the spec mask",
        ),
    ]
    for other, reason in others:
        with pytest.raises(DataError, match=reason):
            dataset = replace(experiment.dataset, **other)  # type: ignore[arg-type]
            train(replace(experiment, dataset=dataset), out, MACHINE)
    longer = make_experiment(
        source, tmp_path, num_epochs=3, checkpoint_interval=1,
        validation_period_during_training=2, average_precision_mode="SAMPLE",
    )  # fmt: skip
    train(longer, out, MACHINE)
    assert load_checkpoint(out / "checkpoint.pt")["epoch"] == 3
    (out / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(DataError, match="is not a checkpoint of this kit"):
        train(experiment, out, MACHINE)


def test_epochs_of_a_few_photos_are_all_taken_care_of(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    experiment = make_experiment(
        source, tmp_path, batch_size_per_gpu=3, num_epochs=7,
        checkpoint_interval=2, validation_period_during_training=3, first_validation_epoch=2,
    )  # fmt: skip
    train(experiment, tmp_path / "run", MACHINE)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    # 3 photos of 2 a step: epochs 1, 3, 4, 6 and 7 end with a batch.
    assert [row["epoch"] for row in rows] == [1, 3, 4, 6, 7]
    assert [row["epoch"] for row in rows if "mAP" in row] == [3, 6, 7]
    kept = sorted(p.name for p in (tmp_path / "run/weights").iterdir())
    assert kept == ["epoch-003.pt", "epoch-004.pt", "epoch-006.pt", "model.pt"]


def test_fewer_photos_than_a_batch_and_the_rates_taken(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    experiment = make_experiment(
        source, tmp_path, batch_size_per_gpu=7, num_epochs=10,
    )  # fmt: skip
    train(experiment, tmp_path / "run", MACHINE)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    # 7 photos a step: 3.5 epochs. The third step shows 21, of which 20 are asked for.
    assert [row["epoch"] for row in rows] == [3, 7, 10]
    rates = [
        learning_rate(share, experiment.spec.training_config.schedule) for share in (0, 1 / 2, 1)
    ]
    assert [row["rate"] for row in rows] == pytest.approx(rates)
    short = make_experiment(source, tmp_path, batch_size_per_gpu=9)
    train(short, tmp_path / "short", MACHINE)
    assert load_checkpoint(tmp_path / "short/checkpoint.pt")["epoch"] == 2


class Diverging(DetectorRecipe):
    """Takes steps that are far too large."""

    def rate(self, step: int) -> float:
        return 1e20


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    recipe = Diverging(make_experiment(source, tmp_path, num_epochs=9))
    with pytest.raises(FacekitError, match=r"step \d+: the \w+ is (nan|inf); .*lower") as refused:
        fit(recipe, tmp_path / "run", MACHINE)
    # An epoch is one step: the first one was saved.
    assert f"{tmp_path / 'run/checkpoint.pt'} is from before" in str(refused.value)


def test_a_network_that_gives_no_number_is_said_to(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path)
    broken = train(experiment, tmp_path / "first", MACHINE)
    state = load_checkpoint(broken)
    state["model"]["coverage.bias"][:] = float("nan")
    torch.save(state, broken)
    begun = make_experiment(source, tmp_path, pretrained_model_file=broken)
    with pytest.raises(FacekitError, match=r"step 1: the \w+ is nan; .*model\.pt\)$"):
        train(begun, tmp_path / "second", MACHINE)
    assert not (tmp_path / "second/checkpoint.pt").exists()


class Watched(DetectorRecipe):
    """Keeps the weights that a run begins with."""

    def network(self, state: Any, device: Any) -> Any:
        model = super().network(state, device)
        self.before = {name: value.clone() for name, value in model.state_dict().items()}
        return model


def changed(experiment: Experiment, out: Path) -> set[str]:
    """Return the names of the weights that a run changes."""
    recipe = Watched(experiment)
    fit(recipe, out, MACHINE)
    after = load_checkpoint(out / "checkpoint.pt")["model"]
    return {n for n, v in after.items() if not torch.equal(v, recipe.before[n])}


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    blocks = make_experiment(source, tmp_path, freeze_blocks="[0,2]")
    names = changed(blocks, tmp_path / "a")
    assert not [n for n in names if n.startswith(("stem", "stage2."))]
    assert "stage1.0.conv1.weight" in names
    assert "stage3.0.norm1.running_mean" in names
    names = changed(make_experiment(source, tmp_path, freeze_bn=True), tmp_path / "b")
    assert {"stem.weight", "stem_norm.weight", "stage1.0.shortcut.1.bias"} <= names
    assert not [n for n in names if "running" in n or "num_batches" in n]


@pytest.mark.parametrize(("kind", "power"), [("L1", 0), ("L2", 1)])
def test_the_regularizer_is_its_sums_derivative(tmp_path: Path, kind: str, power: int) -> None:
    source = write_kitti(tmp_path / "data", 3)
    recipe = DetectorRecipe(make_experiment(source, tmp_path, type=kind, weight=0.01))
    conv = torch.nn.Conv2d(2, 3, 3)
    conv(torch.rand(1, 2, 5, 5)).square().sum().backward()
    kernel, bias = conv.weight, conv.bias
    before, of_bias = kernel.grad.clone(), bias.grad.clone()
    recipe.before_update(conv)
    sum_of = kernel.abs().sum() if power == 0 else (kernel**2).sum()
    (wanted,) = torch.autograd.grad(0.01 * sum_of, kernel)
    torch.testing.assert_close(kernel.grad - before, wanted, atol=1e-5, rtol=1e-4)
    assert torch.equal(bias.grad, of_bias)


def test_a_class_that_no_photo_shows_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path, num_epochs=1)
    only = replace(experiment.dataset, class_of={"mask": "mask"})
    with caplog.at_level("INFO", logger="training"):
        with pytest.raises(DataError, match="no training photo has class 'no-mask'"):
            train(replace(experiment, dataset=only), tmp_path / "run", MACHINE)
    assert "3 photos with 3 mask, 0 no-mask, 3 No-Mask ignored" in caplog.text


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", "-e", str(tmp_path / "no.txt"), "-r", str(tmp_path)]) == 2
    assert "no.txt: no such file" in capsys.readouterr().err
    (tmp_path / "x.pt").write_bytes(b"damaged")
    assert main(["pretrained", "--from", str(tmp_path / "x.pt"), "-o", str(tmp_path / "o.pt")]) == 2
    assert "x.pt: is not a checkpoint of this kit" in capsys.readouterr().err
    assert "-k is unused" not in caplog.text
    prune = ["prune", "-m", str(tmp_path / "x.pt"), "-o", str(tmp_path / "o.pt"), "-k", "key"]
    assert main(prune) == 2
    assert "-k is unused" in caplog.text
