"""A clone of the kit, a Docker engine and Compose, both of which are stand-ins."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conversion.host.cli import main
from conversion.host.compose import Compose, Settings
from tests.fakes.docker_engine import FakeEngine

ROOT = Path(__file__).parents[3]
COMPOSE = [sys.executable, str(ROOT / "tests" / "fakes" / "compose.py")]
KEY = "nvapi-key-that-must-stay-secret"
IMAGE = "facekit/converter:0.1.0"
BASE = "nvcr.io/nvidia/tritonserver:24.04-py3"


@dataclass
class Host:
    """A clone on a machine.

    Attributes:
        root: the clone.
        engine: what Docker is.
    """

    root: Path
    engine: FakeEngine

    @property
    def environ(self) -> dict[str, str]:
        return {"FAKE_COMPOSE_LOG": str(self.root / "log")}

    @property
    def models(self) -> Path:
        return self.root / "model_repository"

    def settings(self, **environ: str) -> Settings:
        return Compose(self.root, {**self.environ, **environ}, COMPOSE).settings()

    def convert(self, *words: str, **environ: str) -> int:
        return main(
            words,
            environ={**self.environ, **environ},
            root=self.root,
            client=self.engine,
            command=COMPOSE,
        )

    def calls(self, command: str) -> list[dict[str, Any]]:
        """What Compose was asked, without what each run names itself."""
        log = self.root / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [entry for line in lines if (entry := json.loads(line))["command"] == command]

    def ran(self) -> list[str]:
        """The only run: volumes, service, command and its options."""
        (call,) = self.calls("run")
        arguments: list[str] = call["arguments"]
        assert arguments[0] == "--name" and arguments[2:5] == [
            *("-e", "FACEKIT_HOST_ROOT=/host", "-T")
        ]
        return arguments[5:]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine with a GPU, on which the image is built, and every folder has room."""
    model = tmp_path / "model_repository" / "facenet"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "facenet"')
    look: Callable[..., Any] = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: look(path)._replace(free=10**12))
    return Host(tmp_path, FakeEngine([IMAGE, BASE], state={}))
