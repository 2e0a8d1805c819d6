"""What a user meets who names a wrong path, starts a run twice, or lacks a library."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")


from facekit.errors import DataError, install_hint  # noqa: E402
from facekit.files import FolderLock  # noqa: E402
from tests.training.spec_edits import edited, quoted  # noqa: E402
from tests.training.tiny_detector import make_experiment, write_kitti  # noqa: E402
from training.checkpoints import load_checkpoint  # noqa: E402
from training.detector.__main__ import main  # noqa: E402
from training.detector.train import check_paths, train  # noqa: E402
from training.experiment.spec import Experiment, read_experiment  # noqa: E402
from training.loop import Machine, fit  # noqa: E402
from training.steps import StepOptions, StepRecipe  # noqa: E402

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "training/specs"
WITHOUT = """
    import runpy, sys

    missing, module, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    runpy.run_module(module, run_name="__main__")
"""


MACHINE = Machine(threads=1, workers=0, device="cpu")


def tiny(folder: Path, **changes: Any) -> Experiment:
    source = write_kitti(folder / "data", 3)
    return make_experiment(source, folder, **{"num_epochs": 1, **changes})


def line_of(spec: Path, part: str) -> int:
    lines = spec.read_text().splitlines()
    return 1 + next(number for number, line in enumerate(lines) if part in line)


@pytest.mark.parametrize(
    ("trainer", "missing", "command"),
    [
        ("detector", "torch", "export"),
        ("detector", "onnx", "export"),
        ("detector", "pydantic", "train"),
        ("landmarks", "PIL", "train"),
        ("facenet", "torch", "train"),
    ],
)
def test_a_missing_library_is_named_in_one_line(trainer: str, missing: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT), missing, f"training.{trainer}", command],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = f"training.{trainer}: {missing} is not installed: {install_hint('train')}\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_two_trainings_cannot_have_one_folder(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    busy = rf"run: is being filled by process {os.getpid()} on "
    with FolderLock(tmp_path / "run"):
        with pytest.raises(DataError, match=busy):
            train(experiment, tmp_path / "run", MACHINE)
        with pytest.raises(DataError, match=busy):
            fit(StepRecipe(StepOptions(tmp_path, tmp_path)), tmp_path / "run", MACHINE)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    train(experiment, tmp_path / "run", MACHINE)
    assert not (tmp_path / "run/.lock").exists()


def test_a_worker_that_outlives_its_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, time
        from facekit.files import FolderLock

        with FolderLock(pathlib.Path({str(tmp_path)!r})):
            child = os.fork()
            if child:
                print(child, flush=True)
                os._exit(0)
            os.close(1)
            time.sleep(60)
    """
    script = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(script, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(DataError), FolderLock(tmp_path):
                return
            time.sleep(0.05)
        pytest.fail("the lock is still held")
    finally:
        os.kill(int(done.stdout), 9)


def test_a_class_without_photos_is_refused_with_its_line(tmp_path: Path) -> None:
    text = tiny(tmp_path).path.read_text()
    spec = tmp_path / "other.txt"
    for name, hint in (
        ("masked", "no label is masked; did you mean 'Mask'?"),
        ("xyz", "no label is xyz; the labels also have Mask"),
    ):
        spec.write_text(text.replace('key: "mask"', f'key: "{name}"'))
        with pytest.raises(DataError) as caught:
            train(read_experiment(spec), tmp_path / "run", MACHINE)
        assert caught.value.reason == f"no training photo has class 'mask': {hint}"
        assert caught.value.line == line_of(spec, f'key: "{name}"')
    assert list((tmp_path / "run").iterdir()) == []


def test_a_truncated_checkpoint_is_named_and_can_be_begun_again(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    train(experiment, tmp_path / "run", MACHINE)
    path = tmp_path / "run/checkpoint.pt"
    whole = path.read_bytes()
    reason = "is not a checkpoint of this kit, or a damaged one"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            train(experiment, tmp_path / "run", MACHINE)
        assert str(caught.value) == f"{path}: {reason}; remove it to begin again"
    for length in range(0, len(whole), len(whole) // 150):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            load_checkpoint(path)
        assert caught.value.reason == reason
    path.unlink()
    train(experiment, tmp_path / "run", MACHINE)


def test_photos_that_are_listed_twice_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tiny(tmp_path)
    source = experiment.dataset.training[0]
    for times, shown in ((1, ""), (2, " (listed twice: 6 shown an epoch)")):
        caplog.clear()
        dataset = replace(experiment.dataset, training=(source,) * times)
        with caplog.at_level("INFO", logger="training"):
            train(replace(experiment, dataset=dataset), tmp_path / f"run{times}", MACHINE)
        assert f"training: 3 photos{shown} with 3 mask, 3 no-mask" in caplog.text


@pytest.mark.parametrize("field", ["image_directory_path", "pretrained_model_file"])
def test_a_missing_path_of_a_spec_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    write_kitti(tmp_path / "data", 1)
    there = {
        "image_directory_path": quoted(tmp_path / "data"),
        "pretrained_model_file": quoted(tmp_path / "data/images/p00.png"),
    }
    there[field] = quoted(tmp_path / "nowhere")
    spec = edited(SPECS / "mask_train.txt", tmp_path / "spec.txt", there)
    assert main(["train", "-e", str(spec), "-r", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert f"{spec}:{line_of(spec, field)}: {field}" in error
    assert f"{tmp_path / 'nowhere'}" in error and "no such f" in error
    # Before a photo was loaded or a folder made.
    assert "p00" not in error
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("training.detector.recipe.read_photos", pytest.fail)
    with pytest.raises(DataError, match="run: cannot be written: Not a directory"):
        train(tiny(tmp_path), tmp_path / "file/run", MACHINE)
    out = str(tmp_path / "file/out")
    photo = str(tmp_path / "data/images")
    infer = ["infer", "-e", str(SPECS / "mask_infer.txt"), "-i", photo, "-o", out]
    capsys.readouterr()
    assert main([*infer, "-m", str(tmp_path / "none.pt")]) == 2
    expected = f"training.detector: {out}: cannot be written: Not a directory\n"
    assert capsys.readouterr().err == expected


def test_a_run_that_goes_on_needs_no_pretrained_network(tmp_path: Path) -> None:
    experiment = tiny(tmp_path)
    source = experiment.dataset.training[0]
    gone = make_experiment(source, tmp_path, pretrained_model_file=tmp_path / "gone.pt")
    check_paths(experiment, resuming=False)
    check_paths(gone, resuming=True)
    with pytest.raises(DataError, match=r"pretrained_model_file: .*gone\.pt: no such file"):
        check_paths(gone, resuming=False)


@pytest.mark.parametrize("command", ["train", "infer", "evaluate"])
def test_a_spec_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    arguments = {
        "train": ["-r", str(tmp_path / "run")],
        "infer": ["-i", str(tmp_path), "-o", str(tmp_path / "out")],
        "evaluate": ["-m", str(tmp_path / "none.pt")],
    }
    assert main([command, "-e", "nope.txt", *arguments[command]]) == 2
    assert capsys.readouterr().err == "training.detector: nope.txt: no such file\n"
