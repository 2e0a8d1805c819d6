"""What docs/folders.md shows works: its commands and its Python run in their order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from facekit.data import probe_photo
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode, picture

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "folders.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "2019").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(probe_photo())
    (photos / "2019" / "b.jpg").write_bytes(probe_photo())
    (photos / "2019" / "nobody.png").write_bytes(encode(picture(), "PNG"))
    return tmp_path


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stderr, done.stdout)
    return done.stdout


def test_commands_and_python_run_in_their_order(server: EmbeddedServer, folder: Path) -> None:
    shown = ""
    for language, text in BLOCKS:
        if language == "python":
            code = text.replace("localhost:8001", server.grpc_url)
            shown += run([sys.executable, "-c", code], folder)
            continue
        for line in text.splitlines():
            name, *arguments = shlex.split(line)
            assert name == "facekit", line
            if arguments[0] == "annotate":
                arguments += ["--url", server.grpc_url]
            shown += run([sys.executable, "-m", "facekit.cli", *arguments], folder)
    assert "3 photos, 4 faces" in shown
    assert len(list((folder / "chips").glob("*.jpg"))) == 4
    for name in ("instances.json", "faces.parquet", "tasks.config.xml", "sheet.png", "turned.json"):
        assert (folder / name).stat().st_size > 0, name


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", GUIDE)
    assert targets
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target
