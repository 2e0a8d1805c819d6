"""The converter's image: built from its files alone, on a base that is fetched first."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from conversion.host.cli import main
from conversion.host.pulling import PullProgress
from tests.conversion.host.setups import (
    BASE,
    KEY,
)
from tests.fakes.docker_engine import FakeEngine


def test_image_is_built_from_its_files_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / ".env").write_text(f"NGC_API_KEY={KEY}\n")
    engine = FakeEngine({BASE: {}})
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    (built,) = engine.built
    with tarfile.open(fileobj=io.BytesIO(built["fileobj"].getvalue())) as context:
        assert sorted(context.getnames()) == [
            "Dockerfile.converter",
            "LICENSE",
            "conversion/code.py",
            "facekit/code.py",
            "pyproject.toml",
        ]
    assert KEY not in str(built["buildargs"])
    assert "Step 1/2 : FROM base" in capsys.readouterr().err


def test_base_that_is_missing_is_fetched_first(root: Path) -> None:
    engine = FakeEngine()
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert engine.pulled == [BASE]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("unauthorized: authentication required", "docker login nvcr.io"),
        ("manifest unknown", "conversion/releases.yaml"),
        ("no space left on device", "docker system df"),
        ("connection reset", "docker pull nvcr.io/nvidia/tritonserver:24.04-py3"),
    ],
)
def test_base_that_can_not_be_fetched_is_explained(
    root: Path, capsys: pytest.CaptureFixture[str], said: str, words: str
) -> None:
    engine = FakeEngine(pull_events=[{"error": said}])
    assert main(["plan"], environ={}, root=root, client=engine) == 2
    assert words in capsys.readouterr().err


def test_build_that_fails_shows_the_last_lines(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [{"stream": "ERROR: No matching distribution\n"}, {"error": "returned non-zero: 1"}]
    engine = FakeEngine({BASE: {}}, build_events=events)
    assert main(["plan"], environ={}, root=root, client=engine) == 2
    said = capsys.readouterr().err
    assert "building it failed: returned non-zero: 1" in said
    assert "| ERROR: No matching distribution" in said
    assert engine.created == []


def test_pull_progress_adds_up_the_layers() -> None:
    now = iter([0.0, 1.0, 11.0, 12.0])
    said: list[str] = []
    progress = PullProgress(said.append, lambda: next(now))
    detail = {"current": 1_000_000_000, "total": 2_000_000_000}
    progress.update({"id": "a", "status": "Downloading", "progressDetail": detail})
    progress.update({"id": "b", "status": "Downloading", "progressDetail": detail})
    progress.update({"id": "a", "status": "Pull complete"})
    assert said == ["  2.0 of 4.0 GB fetched, 181.8 MB/s, 0 layers unpacked"]
