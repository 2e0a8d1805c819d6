"""The pipelines in the repository: all of them, each in one step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conversion.errors import BuildError
from conversion.pipelines import serialize_pipelines
from facekit.errors import SetupError
from facekit.pipelines.definitions import COLORS_OF
from tests.conversion.conftest import REPOSITORY


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for model in COLORS_OF:
        (tmp_path / model).mkdir()
    return tmp_path


def test_every_pipeline_is_written_and_named(models: Path) -> None:
    said: list[str] = []
    written = serialize_pipelines(models, "cpu", said.append)
    assert sorted(path.relative_to(models) for path in written) == sorted(
        path.relative_to(REPOSITORY) for path in REPOSITORY.glob("*/1/*cpu.dali")
    )
    assert len(said) == len(written)
    assert sorted(path for path in models.rglob("*") if path.is_file()) == sorted(written)


def test_leftovers_of_a_killed_run_are_removed(models: Path) -> None:
    left = models / "photo_gray" / "1" / ".gpu.dali.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    serialize_pipelines(models, "cpu", lambda line: None)
    assert not left.exists()


def test_repository_of_some_models_gets_their_pipelines_alone(tmp_path: Path) -> None:
    (tmp_path / "photo_gray").mkdir()
    written = serialize_pipelines(tmp_path, "cpu", lambda line: None)
    assert written == [tmp_path / "photo_gray" / "1" / "cpu.dali"]


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_gpu_without_cuda_says_what_to_do(models: Path) -> None:
    with pytest.raises(SetupError, match=r"only be serialized where CUDA is(.|\n)*--device cpu"):
        serialize_pipelines(models, "gpu", lambda line: None)
    assert not [path for path in models.rglob("*") if path.is_file()]


def test_disk_that_refuses_is_said(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("conversion.pipelines.write_whole", refuse)
    with pytest.raises(BuildError, match="Permission denied; this is user"):
        serialize_pipelines(models, "cpu", lambda line: None)


@pytest.mark.parametrize("step", ["os.ftruncate", "os.fsync", "pathlib.Path.replace"])
def test_pipeline_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = tmp_path / "photo_gray" / "1" / "cpu.dali"
    old.parent.mkdir(parents=True)
    old.write_text("an older pipeline")
    monkeypatch.setattr(step, refuse)
    with pytest.raises(BuildError, match="No space left on device"):
        serialize_pipelines(tmp_path, "cpu", lambda line: None)
    assert old.read_text() == "an older pipeline"
    assert list(old.parent.iterdir()) == [old]
