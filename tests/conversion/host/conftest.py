"""A clone of the kit and its settings."""

from __future__ import annotations

from pathlib import Path

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
