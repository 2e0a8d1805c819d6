from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from facekit.errors import ConfigError, DataError, FacekitError  # noqa: E402
from training import checkpoints  # noqa: E402
from training.devices import choose_device, half_precision  # noqa: E402
from training.loop import Machine, Run, StepResult, fit  # noqa: E402
from training.record import Record, plot_record, read_rows  # noqa: E402
from training.steps import StepOptions, StepRecipe, learning_rate  # noqa: E402


class Numbers(Dataset[dict[str, Any]]):
    """Batch k is drawn from the step alone."""

    shift = 0.0

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, step: int) -> dict[str, Any]:
        x = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": x.sum(dim=1, keepdim=True) + self.shift}


MACHINE = Machine(workers=0)


class Sum(StepRecipe):
    """Learns the sum of three numbers."""

    title = "A sum"
    figures = ("largest",)
    figures_label = "error"
    outputs, bad_step, killed_at = 1, -1, -1

    def read(self) -> Numbers:
        return Numbers()

    def network(self, state: Any, device: Any) -> Any:
        return torch.nn.Linear(3, self.outputs)

    def step(self, model: Any, step: int, batch: dict[str, Any]) -> StepResult:
        if step == self.killed_at:
            raise KeyboardInterrupt
        error = model(batch["x"]) - batch["y"]
        figures = {"largest": error.abs().max()} if step % 2 else {}
        square = error.square().mean() * (float("nan") if step == self.bad_step else 1.0)
        return StepResult(square, {"square": square, **figures})


def recipe(folder: Path, **changes: Any) -> Sum:
    given = {"steps": 90, "save_every": 40, "warmup": 5, "rate": 0.05}
    return Sum(StepOptions(folder, folder, **{**given, **changes}))


def train(made: Sum) -> dict[str, Any]:
    return checkpoints.load_checkpoint(fit(made, made.options.out, MACHINE))


def test_a_run_learns_and_writes_down_what_it_saw(tmp_path: Path) -> None:
    assert train(recipe(tmp_path))["step"] == 90
    rows = read_rows(tmp_path / "metrics.jsonl", "step")
    # Every 25 steps, and at every checkpoint: 40, 80 and the end.
    assert [row["step"] for row in rows] == [25, 40, 50, 75, 80, 90]
    assert rows[-1]["square"] < 0.1 * rows[0]["square"]
    assert rows[0]["loss"] == pytest.approx(rows[0]["square"])
    assert rows[0]["largest"] > rows[0]["square"] ** 0.5
    with Image.open(tmp_path / "metrics.png") as plot:
        assert plot.width > 800


def test_a_killed_run_ends_with_the_same_weights_and_metrics(tmp_path: Path) -> None:
    whole = train(recipe(tmp_path / "whole"))
    killed = recipe(tmp_path / "killed")
    killed.killed_at = 77
    with pytest.raises(KeyboardInterrupt):
        train(killed)
    resumed = train(recipe(tmp_path / "killed"))
    for name, value in whole["average"].items():
        torch.testing.assert_close(resumed["average"][name], value)

    def figures(name: str) -> list[dict[str, Any]]:
        rows = read_rows(tmp_path / name / "metrics.jsonl", "step")
        return [{k: v for k, v in row.items() if k != "seconds a step"} for row in rows]

    assert figures("killed") == [pytest.approx(row) for row in figures("whole")]


class Mined(Sum):
    """Takes other data after ten steps, as after mining hard negatives."""

    def read(self) -> Numbers:
        self.numbers = Numbers()
        return self.numbers

    def epochs_after(self, steps: int) -> int:
        return steps // 10

    def end_epoch(self, run: Run, before: int) -> dict[str, float]:
        self.numbers.shift = 100.0
        run.stale = True
        return {}


@pytest.mark.parametrize("workers", [0, 1])
def test_data_may_change_between_epochs(tmp_path: Path, workers: int) -> None:
    made = Mined(StepOptions(tmp_path, tmp_path, steps=20, rate=1e-6))
    fit(made, tmp_path, Machine(workers=workers))
    first, second = read_rows(tmp_path / "metrics.jsonl", "step")
    assert (first["step"], second["step"]) == (10, 20)
    # Not one of the batches that were made ahead is of the data from before.
    assert first["square"] < 10 and second["square"] > 5000


def test_a_run_does_not_go_on_with_another_seed(tmp_path: Path) -> None:
    train(recipe(tmp_path, steps=2, seed=3))
    train(recipe(tmp_path, steps=3, seed=3))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(DataError, match=r"was trained with seed 3, not 0: name another folder"):
        train(recipe(tmp_path, steps=4))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_run_does_not_go_on_from_another_network(tmp_path: Path) -> None:
    train(recipe(tmp_path, steps=2))
    other = recipe(tmp_path, steps=3)
    other.outputs = 2
    with pytest.raises(DataError, match=r"checkpoint\.pt: is of another network: name another"):
        train(other)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    broken = recipe(tmp_path, save_every=4)
    broken.bad_step = 4
    with pytest.raises(FacekitError, match="step 5: the loss is nan"):
        train(broken)
    state = checkpoints.load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_devices_are_named() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu5", "meta"):
        with pytest.raises(ConfigError, match=f"{name}.*name cpu, cuda or cuda:1"):
            choose_device(name)
    with pytest.raises(ConfigError, match=r"cuda:99.*finds \d+ CUDA devices"):
        choose_device("cuda:99")


def test_half_precision_is_for_layers_that_allow_it() -> None:
    layer = torch.nn.Conv2d(1, 1, 1)
    with half_precision(torch.device("cpu")):
        assert layer(torch.ones(1, 1, 2, 2)).dtype == torch.bfloat16
    with half_precision(torch.device("cpu"), enabled=False):
        assert layer(torch.ones(1, 1, 2, 2)).dtype == torch.float32


def test_record_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    record = Record(tmp_path, "epoch")
    record.resume(0)
    for epoch in (1, 2, 3):
        record.append({"epoch": epoch, "cost": 1 / epoch, "mAP": float("nan")})
    # What was being written when the run was killed.
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 4, "co')
    again = Record(tmp_path, "epoch")
    assert [row["epoch"] for row in again.rows] == [1, 2, 3]
    assert again.rows[0]["mAP"] is None
    again.resume(2)
    again.append({"epoch": 3, "cost": 0.1})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["cost"] == 0.1
    Record(tmp_path, "epoch").resume(0)
    assert path.read_text() == ""


@pytest.mark.parametrize("line", ["nonsense\n", '{"cost": 1}\n', "[1]\n"])
def test_a_damaged_metrics_file_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n' + line + '{"epoch": 2}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: is not a line of metrics"):
        Record(tmp_path, "epoch")


def test_plot_with_gaps_and_without_figures(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "cost": 100.0}, {"epoch": 2, "cost": None}, {"epoch": 3, "cost": 0.5}]
    plot_record(rows, tmp_path / "a.png", "epoch", ["cost"], ["mAP"], "Masks", "AP")
    with Image.open(tmp_path / "a.png") as plot:
        plot.load()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(DataError, match="no such file"):
        checkpoints.load_checkpoint(path)
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"checkpoint\.pt: is not a checkpoint of this kit"):
        checkpoints.load_checkpoint(path)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        checkpoints.load_checkpoint(tmp_path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="is not a checkpoint of this kit"):
        checkpoints.load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pt", ".hdf5", ".tlt", ".etlt"])
def test_a_file_that_is_no_checkpoint_is_refused_in_the_kits_own_words(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"resnet18{suffix}"
    # What needs code of its own to be loaded: torch would advise to trust it.
    torch.save(Path(), path)
    with pytest.raises(DataError) as caught:
        checkpoints.load_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: is not a checkpoint of this kit")
    assert "weights_only" not in text and "torch" not in text
    assert ("files of TLT can't be read; name a .pt file" in text) == (suffix != ".pt")


def test_learning_rate_plateau_does_not_depend_on_the_total() -> None:
    for step in range(0, 300, 30):
        short = learning_rate(step, 1000, 1.0, 100, 0.3)
        assert short == learning_rate(step, 5000, 1.0, 100, 0.3)
    assert learning_rate(999, 1000, 1.0, 100, 0.3) == pytest.approx(0.01)
