"""A clone of the kit and its settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conversion.host.settings import Settings, load_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What of a clone the host's part reads."""
    for name in ("Dockerfile.converter", "pyproject.toml", "LICENSE"):
        (tmp_path / name).write_text(name)
    for folder in ("facekit", "conversion"):
        (tmp_path / folder / "__pycache__").mkdir(parents=True)
        (tmp_path / folder / "code.py").write_text("pass\n")
        (tmp_path / folder / "__pycache__" / "code.pyc").write_text("")
    model = tmp_path / "model_repository" / "facenet"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "facenet"')
    return tmp_path


@pytest.fixture
def settings(root: Path) -> Settings:
    return load_settings(root, {})


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder that is there has room: what the driver does never hangs on this machine's."""
    look = shutil.disk_usage

    def usage(path: Any) -> Any:
        return look(path)._replace(free=1_000_000_000_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
