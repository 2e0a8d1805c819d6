"""The command as a whole: checks, run and report."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.host.cli import main
from conversion.host.report import look, report
from tests.conversion.host.setups import (
    ready,
    write_engine,
)
from tests.fakes.docker_engine import FakeContainer, FakeEngine


def test_rootless_engine_gets_root_which_is_the_user_outside(root: Path) -> None:
    engine = ready(root, info={"SecurityOptions": ["name=seccomp", "name=rootless"]})
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert engine.created[0]["user"] == "0:0"


def test_check_looks_and_starts_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ready(root)
    assert main(["--check"], environ={}, root=root, client=engine) == 0
    said = capsys.readouterr().err
    for about in ("Docker", "NVIDIA runtime", "disk, images", "repository", "image", "GPU"):
        assert f"convert: ok    {about}" in said
    assert engine.created == []


def test_check_without_the_image_builds_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine()
    assert main(["--check"], environ={}, root=root, client=engine) == 0
    assert (engine.built, engine.pulled) == ([], [])
    assert "convert: todo  image" in capsys.readouterr().err


def test_check_that_fails_shows_the_others_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ready(root, info={"Runtimes": {}})
    assert main(["--check"], environ={}, root=root, client=engine) == 2
    said = capsys.readouterr().err
    assert "convert: FAIL  NVIDIA runtime" in said
    assert "convert: ok    image" in said


def test_converter_at_work_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ready(root, running=("busy_bell",))
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert "docker logs --follow busy_bell" in capsys.readouterr().err


def test_run_that_makes_an_engine_reports_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = root / "model_repository"
    container = FakeContainer(work=lambda _: write_engine(repository))
    assert main([], environ={}, root=root, client=ready(root, container=container)) == 0
    said = capsys.readouterr().err
    assert (
        "made  facenet: nvidia, int8, batches of 1 to 32, TensorRT 8.6.3, NVIDIA A10, 12.3 MB"
        in said
    )
    assert "next: docker compose up triton-server" in said


def test_report_of_a_run_that_changed_nothing_says_kept(root: Path) -> None:
    repository = root / "model_repository"
    write_engine(repository)
    made = look(repository)
    (line,) = report(repository, made, made)
    assert line.startswith("kept  facenet: nvidia, int8")


def test_report_names_dali_files_that_were_written(root: Path) -> None:
    repository = root / "model_repository"
    before = look(repository)
    path = repository / "facenet" / "1" / "gray.gpu.dali"
    path.write_bytes(b"")
    assert report(repository, before, look(repository)) == [f"made  {path}"]


def test_help_needs_no_engine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], environ={}, root=root) == 0
    assert "scripts/convert --check" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["plan", "--help"], ["--help", "plan"]])
def test_help_of_a_command_needs_no_engine(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    engine = FakeEngine()
    with pytest.raises(SystemExit) as ended:
        main(words, environ={}, root=root, client=engine)
    assert ended.value.code == 0
    assert "--triton TAG" in capsys.readouterr().out
    assert engine.built == []
