from __future__ import annotations

import json
import os
import pickle
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
from training.detector.__main__ import main  # noqa: E402
from training.detector.checkpoint import read_checkpoint, read_network  # noqa: E402
from training.detector.run import Run, RunOptions  # noqa: E402
from training.detector.schedule import learning_rate  # noqa: E402
from training.detector.train import train  # noqa: E402
from training.experiment.settings import Experiment  # noqa: E402


def quiet(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(out, threads=1, workers=0, device="cpu", **changes)


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = read_checkpoint(first), read_checkpoint(second)
    for part in ("model", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name


def test_a_run_learns_and_leaves_its_records(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 6, extra="odd")
    experiment = make_experiment(
        source, tmp_path, training__epochs=30, training__checkpoint_interval=10,
        evaluation__period=15, evaluation__first_epoch=10,
    )  # fmt: skip
    path = train(experiment, quiet(tmp_path / "run", name="tiny"))
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
    average = read_checkpoint(tmp_path / "run/checkpoint.pt")["average"]
    assert all(torch.equal(value, average[name]) for name, value in network.weights.items())
    assert read_checkpoint(tmp_path / "run/checkpoint.pt")["spec"] == "# made up\n"
    with Image.open(tmp_path / "run/metrics.png") as plot:
        pixels = np.asarray(plot.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50


def test_a_seed_gives_the_same_run_with_any_workers(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 4)
    experiment = make_experiment(source, tmp_path, evaluation__period=0)
    train(experiment, quiet(tmp_path / "one"))
    train(experiment, replace(quiet(tmp_path / "two"), workers=1))
    assert_same_weights(tmp_path / "one/checkpoint.pt", tmp_path / "two/checkpoint.pt")
    train(replace(experiment, random_seed=6), quiet(tmp_path / "three"))
    weights = [read_network(tmp_path / n / "weights/model.pt").weights for n in ("one", "three")]
    assert not torch.equal(weights[0]["stem.weight"], weights[1]["stem.weight"])


CHILD = """
    import pickle, sys, time
    from pathlib import Path
    from training.detector import run
    from training.detector.train import train

    folder = Path(sys.argv[1])
    experiment, options = pickle.loads((folder / "run.pickle").read_bytes())
    run.SAVE_EVERY = 2
    take = run.Run._take

    def slow(self, batch):
        if self.step == 5:
            (folder / "at5").touch()
            time.sleep(60)
        return take(self, batch)

    run.Run._take = slow
    train(experiment, options)
"""


def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_kitti(tmp_path / "data", 7)
    # An epoch has 7 / 3 steps: the run is killed within its third one, after a save at step 4.
    experiment = make_experiment(
        source, tmp_path, training__epochs=4, cost__autoweighting=True, evaluation__period=0,
    )  # fmt: skip
    train(experiment, quiet(tmp_path / "whole"))
    killed = quiet(tmp_path / "killed")
    (tmp_path / "run.pickle").write_bytes(pickle.dumps((experiment, killed)))
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
    assert read_checkpoint(killed.out / "checkpoint.pt")["step"] in (4, 5)
    train(experiment, killed)
    assert_same_weights(tmp_path / "whole/checkpoint.pt", tmp_path / "killed/checkpoint.pt")
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    for one, two in zip(*rows, strict=True):
        one.pop("seconds a step"), two.pop("seconds a step")
        assert one == pytest.approx(two)


def test_a_finished_run_is_left_alone_and_another_spec_refused(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path, evaluation__period=0)
    options = quiet(tmp_path / "run")
    train(experiment, options)
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    train(experiment, options)
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    with pytest.raises(DataError, match=r"checkpoint\.pt: has random_seed 5, the spec 9"):
        train(replace(experiment, random_seed=9), options)
    names = replace(experiment.dataset, class_names=("no-mask", "mask"))
    with pytest.raises(DataError, match="has classes"):
        train(replace(experiment, dataset=names), options)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"training__batch_size": 2}, r"has training\.batch_size 3, the spec 2"),
        # A run that goes on does not need the file.
        ({"model__pretrained": tmp_path / "x.pt"}, r"has model\.pretrained None, the spec .*x\.pt"),
        ({"augmentation__zoom_max": 1.3}, r"augmentation\.zoom_max 1\.1, the spec 1\.3"),
        ({"cost__bbox_loss": "L1"}, r"cost\.bbox_loss GIOU, the spec L1"),
        ({"dataset__training": (source, source)}, r"dataset\.training\[1\]\.image_folder nothing"),
        (
            {"dataset__class_of": {"mask": "mask", "no-mask": "no-mask", "odd": "mask"}},
            r"dataset\.class_of\.odd nothing, the spec mask",
        ),
    ]
    for change, reason in changes:
        other = make_experiment(source, tmp_path, evaluation__period=0, **change)
        with pytest.raises(DataError, match=reason):
            train(other, options)
    longer = make_experiment(
        source, tmp_path, training__epochs=3, training__checkpoint_interval=1,
        evaluation__period=2, evaluation__mode="SAMPLE",
    )  # fmt: skip
    train(longer, options)
    assert read_checkpoint(tmp_path / "run/checkpoint.pt")["epoch"] == 3
    (tmp_path / "run/checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(DataError, match="is no checkpoint of this kit"):
        train(experiment, options)


def test_epochs_of_a_few_photos_are_all_taken_care_of(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    experiment = make_experiment(
        source, tmp_path, training__batch_size=3, training__epochs=7,
        training__checkpoint_interval=2, evaluation__period=3, evaluation__first_epoch=2,
    )  # fmt: skip
    train(experiment, quiet(tmp_path / "run"))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    # 3 photos of 2 a step: epochs 1, 3, 4, 6 and 7 end with a batch.
    assert [row["epoch"] for row in rows] == [1, 3, 4, 6, 7]
    assert [row["epoch"] for row in rows if "mAP" in row] == [3, 6, 7]
    kept = sorted(p.name for p in (tmp_path / "run/weights").iterdir())
    assert kept == ["epoch-003.pt", "epoch-004.pt", "epoch-006.pt", "model.pt"]


def test_fewer_photos_than_a_batch_and_the_rates_taken(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 2)
    experiment = make_experiment(
        source, tmp_path, training__batch_size=7, training__epochs=10, evaluation__period=0,
    )  # fmt: skip
    train(experiment, quiet(tmp_path / "run"))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    # 7 photos a step: 3.5 epochs. The third step shows 21, of which 20 are asked for.
    assert [row["epoch"] for row in rows] == [3, 7, 10]
    rates = [learning_rate(share, experiment.training) for share in (0, 1 / 2, 1)]
    assert [row["rate"] for row in rows] == pytest.approx(rates)
    short = make_experiment(source, tmp_path, training__batch_size=9, evaluation__period=0)
    train(short, quiet(tmp_path / "short"))
    assert read_checkpoint(tmp_path / "short/checkpoint.pt")["epoch"] == 2


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(
        source, tmp_path, evaluation__period=0, training__max_learning_rate=1e20,
        training__epochs=9,
    )  # fmt: skip
    with pytest.raises(FacekitError, match=r"step \d+: the \w+ is (nan|inf); .*lower") as refused:
        train(experiment, quiet(tmp_path / "run"))
    # An epoch is one step: the first one was saved.
    assert f"{tmp_path / 'run/checkpoint.pt'} is from before" in str(refused.value)


def test_a_network_that_gives_no_number_is_said_to(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path, evaluation__period=0)
    broken = train(experiment, quiet(tmp_path / "first"))
    state = read_checkpoint(broken)
    state["model"]["coverage.bias"][:] = float("nan")
    torch.save(state, broken)
    begun = make_experiment(source, tmp_path, model__pretrained=broken, evaluation__period=0)
    with pytest.raises(FacekitError, match=r"step 1: the \w+ is nan; .*model\.pt\)$"):
        train(begun, quiet(tmp_path / "second"))
    assert not (tmp_path / "second/checkpoint.pt").exists()


def one_step(experiment: Experiment, out: Path) -> Run:
    """Return a run after one step."""
    from training.detector.batches import Batches
    from training.detector.frames import PhotoSet, read_photos

    torch.set_num_threads(1)
    photos = read_photos(experiment.dataset, "training").photos
    made = Run(
        experiment, quiet(out), torch.device("cpu"), Batches(photos, experiment), PhotoSet((), ())
    )
    made.before = {n: v.clone() for n, v in made.model.state_dict().items()}  # type: ignore[attr-defined]
    made._train_mode()
    made._take(made.batches[0])
    return made


def changed(made: Run) -> set[str]:
    before = made.before  # type: ignore[attr-defined]
    return {n for n, v in made.model.state_dict().items() if not torch.equal(v, before[n])}


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    source = write_kitti(tmp_path / "data", 3)
    blocks = make_experiment(source, tmp_path, model__freeze_blocks=(0, 2))
    names = changed(one_step(blocks, tmp_path / "a"))
    assert not [n for n in names if n.startswith(("stem", "stage2."))]
    assert "stage1.0.conv1.weight" in names
    assert "stage3.0.norm1.running_mean" in names
    norms = make_experiment(source, tmp_path, model__freeze_bn=True)
    names = changed(one_step(norms, tmp_path / "b"))
    assert {"stem.weight", "stem_norm.weight", "stage1.0.shortcut.1.bias"} <= names
    assert not [n for n in names if "running" in n or "num_batches" in n]


@pytest.mark.parametrize(("kind", "power"), [("L1", 0), ("L2", 1)])
def test_the_regularizer_is_its_sums_derivative(tmp_path: Path, kind: str, power: int) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path)
    made = one_step(experiment, tmp_path / kind)
    kernel = made.kernels[1]
    grad = kernel.grad.clone()
    regular = replace(experiment.training, regularizer=kind, regularizer_weight=0.01)
    made.experiment = replace(experiment, training=regular)
    made._regularize()
    sum_of = kernel.abs().sum() if power == 0 else (kernel**2).sum()
    (wanted,) = torch.autograd.grad(0.01 * sum_of, kernel)
    torch.testing.assert_close(kernel.grad - grad, wanted, atol=1e-6, rtol=1e-4)


def test_a_class_that_no_photo_shows_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_kitti(tmp_path / "data", 3)
    experiment = make_experiment(source, tmp_path, evaluation__period=0, training__epochs=1)
    only = replace(experiment.dataset, class_of={"mask": "mask"})
    with caplog.at_level("INFO", logger="training"):
        with pytest.raises(DataError, match="no training photo has class 'no-mask'"):
            train(replace(experiment, dataset=only), quiet(tmp_path / "run"))
    assert "3 photos with 3 mask, 0 no-mask, 3 No-Mask ignored" in caplog.text


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-e", str(tmp_path / "no.txt"), "-r", str(tmp_path)]) == 1
    assert "no.txt: no such file" in capsys.readouterr().err
    (tmp_path / "x.pt").write_bytes(b"damaged")
    assert main(["pretrained", "--from", str(tmp_path / "x.pt"), "-o", str(tmp_path / "o.pt")]) == 1
    assert "x.pt: is no checkpoint of this kit" in capsys.readouterr().err
