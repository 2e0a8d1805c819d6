"""What a server says of a repository that it may not read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facekit.cli import main
from tests.serving.tiny import tiny_repository

OTHER_USER = 10001
# Python's own packages may lie where another user can't read them, so they are loaded before.
CODE = """
import os, sys
import facekit.cli, facekit.report, facekit.serving.layout, facekit.serving.supervisor
import facekit.serving.embedded, facekit.serving.stock
if os.geteuid() == 0:
    os.setuid(int(sys.argv.pop(1)))
sys.exit(facekit.cli.main(["serve", *sys.argv[1:]]))
"""


def test_serve_of_a_folder_without_models_says_what_chooses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()

    assert main(["serve", f"--model-repository={tmp_path}"]) == 2
    assert f"facekit: {tmp_path} holds no model" in capsys.readouterr().err


def test_serve_of_a_model_whose_name_triton_cannot_take_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_repository(tmp_path) / "faces"
    model = model.rename(tmp_path / "my faces")

    assert main(["serve", f"--model-repository={tmp_path}"]) == 2
    assert f"facekit: {model}: a model's folder is named with A-Z" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "faces", "faces/1", "faces/config.pbtxt", "faces/1/model.py"])
@pytest.mark.parametrize("options", [(), ("--color=rgb",)])
def test_serve_of_what_it_may_not_read_names_path_user_and_remedy(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    repository = tiny_repository(tmp_path / "models")
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    closed = repository / name
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        command = [sys.executable, "-c", CODE]
        command += [str(OTHER_USER)] if os.geteuid() == 0 else []
        command += [f"--model-repository={repository}", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        closed.chmod(mode)

    user = OTHER_USER if os.geteuid() == 0 else os.geteuid()
    assert done.returncode == 2
    assert f"can't be read by user {user}: {closed}" in done.stderr
    assert "Permission denied. Let everyone read it: chmod -R a+rX FOLDER" in done.stderr
