"""A full disk, or a place that can't be written, costs nothing that was there before."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")


from facekit.annotations.output import OUTPUT_MARK
from facekit.errors import DataError  # noqa: E402
from tests.training.detectors import write_network, write_photo  # noqa: E402
from tests.training.spec_text import INFERENCE, changed, write_spec  # noqa: E402
from training import checkpoints  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.record import Record, plot_record  # noqa: E402
from training.steps import StepOptions, StepRecipe, make_parsers, run_parsed  # noqa: E402


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file take the place of another."""

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", refuse)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "network.pt", ("covered", "bare"))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_checkpoint_stays_whole_on_a_full_disk(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "run/checkpoint.pt"
    checkpoints.save_checkpoint(path, {"step": 1})
    request.getfixturevalue("full_disk")
    reason = "cannot be written: No space left on device; free some space"
    with pytest.raises(DataError, match=rf"checkpoint\.pt: {reason}"):
        checkpoints.save_checkpoint(path, {"step": 2})
    assert checkpoints.load_checkpoint(path) == {"step": 1}
    assert files(path.parent) == {"checkpoint.pt"}


def test_metrics_and_plot(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    record = Record(tmp_path, "step")
    record.resume(0)
    record.append({"step": 1, "loss": 2.0})
    text = record.path.read_text()
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be written: No space"):
        record.resume(0)
    with pytest.raises(DataError, match=r"metrics\.png: cannot be written: No space"):
        plot_record(record.rows, tmp_path / "metrics.png", "step", ["loss"], [], "", "")
    assert record.path.read_text() == text
    assert files(tmp_path) == {"metrics.jsonl"}
    record.path.unlink()
    record.path.mkdir()
    with pytest.raises(DataError, match="cannot be written: Is a directory"):
        record.append({"step": 2})


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    "command",
    [["prune", "-pth", "0"], ["export"], ["pretrained"]],
    ids=lambda command: str(command[0]),
)
def test_networks(
    tmp_path: Path,
    network: Path,
    command: list[str],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = ["--from" if command[0] == "pretrained" else "-m", str(network)]
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("before")
    # A file stands where a folder would have to be.
    assert main([*command, *source, "-o", str(out / "file/model.pt")]) == 2
    assert "model.pt: cannot be written: " in capsys.readouterr().err
    request.getfixturevalue("full_disk")
    assert main([*command, *source, "-o", str(out / "file")]) == 2
    error = capsys.readouterr().err
    assert f"{out / 'file'}: cannot be written: No space left on device; " in error
    assert files(out) == {"file"}
    assert (out / "file").read_text() == "before"


def test_infer_names_what_it_could_not_write(
    tmp_path: Path,
    network: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_photo(tmp_path / "photos/a.png")
    text, _ = changed(INFERENCE, "weights/model.tlt", str(network))
    spec = write_spec(tmp_path / "spec.txt", text)
    out = tmp_path / "out"
    request.getfixturevalue("full_disk")
    assert main(["infer", "-e", str(spec), "-i", str(tmp_path / "photos"), "-o", str(out)]) == 1
    drawn = out / "images_annotated"
    assert f"{drawn / 'a.png'}: cannot be written: No space left on device" in caplog.text
    assert files(drawn) == {OUTPUT_MARK}


def test_figures(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    parsers = make_parsers("test", None, StepOptions)
    path = tmp_path / "deep/figures.json"
    line = ["evaluate", "--data", "d", "--model", "m", "--json", str(path)]

    def evaluate() -> int:
        return run_parsed(
            parsers.whole.parse_args(line),
            StepOptions,
            StepRecipe,
            lambda checkpoint, out: 0.0,
            lambda options: {"error": 0.5},
        )

    assert evaluate() == 0
    assert evaluate() == 0
    assert json.loads(path.read_text()) == {"error": 0.5}
    other = path.with_name("labels.json")
    other.write_text('{"error": "by hand"}\n')
    line[-1] = str(other)
    with pytest.raises(DataError, match=r"labels\.json: exists and was not written by facekit"):
        evaluate()
    other.unlink()
    line[-1] = str(path)
    request.getfixturevalue("full_disk")
    capsys.readouterr()
    with pytest.raises(DataError, match=r"figures\.json: cannot be written: No space left on dev"):
        evaluate()
    # What was measured is not lost.
    assert "error" in capsys.readouterr().out
    assert json.loads(path.read_text()) == {"error": 0.5}
    assert files(path.parent) == {path.name}
