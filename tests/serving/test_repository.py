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
CLOSED = ("", "faces", "faces/1", "faces/config.pbtxt", "faces/1/model.py")
# One process for all, since what it imports takes half a second. Python's own packages may lie
# where another user can't read them, so they are loaded before.
CODE = """
import os, sys
import facekit.cli, facekit.report, facekit.serving.repository, facekit.serving.supervisor
import facekit.serving.embedded, facekit.serving.stock
_ = facekit.__version__
if os.geteuid() == 0:
    os.setuid(int(sys.argv.pop(1)))
for repository in sys.argv[1:]:
    for options in ([], ["--color=rgb"]):
        print(facekit.cli.main(["serve", f"--model-repository={repository}", *options]))
"""


def test_serve_of_a_folder_without_models_says_what_chooses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()

    assert main(["serve", f"--model-repository={tmp_path}"]) == 2
    assert f"facekit: {tmp_path} contains no models" in capsys.readouterr().err


def test_serve_of_a_model_whose_name_triton_cannot_take_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_repository(tmp_path) / "faces"
    model = model.rename(tmp_path / "my faces")

    assert main(["serve", f"--model-repository={tmp_path}"]) == 2
    assert f"facekit: {model}: a model's folder is named with A-Z" in capsys.readouterr().err


def test_serve_of_what_it_may_not_read_names_path_user_and_remedy(public_path: Path) -> None:
    repositories = [tiny_repository(public_path / str(n)) for n in range(len(CLOSED))]
    closed = [folder / name for folder, name in zip(repositories, CLOSED, strict=True)]
    command = [sys.executable, "-c", CODE]
    command += [str(OTHER_USER)] if os.geteuid() == 0 else []
    for path in closed:
        path.chmod(0)
    try:
        done = subprocess.run(
            [*command, *map(str, repositories)], capture_output=True, text=True, timeout=60
        )
    finally:
        for path in closed:
            path.chmod(0o755)

    user = OTHER_USER if os.geteuid() == 0 else os.geteuid()
    assert done.stdout.split() == ["2"] * 2 * len(CLOSED), done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("facekit: ")]
    for path, line in zip((path for path in closed for _ in range(2)), said, strict=True):
        assert f"cannot be read by user {user}: {path}: Permission denied." in line
        assert "Let everyone read it: chmod -R a+rX FOLDER" in line
