"""Every script tells what it does before it installs anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    str(path.relative_to(ROOT))
    for path in sorted([*(ROOT / "scripts").iterdir(), *(ROOT / ".ci").iterdir()])
    if path.is_file() and os.access(path, os.X_OK)
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with nothing installed, in which no installation can succeed."""
    root = tmp_path / "a clone"
    for name in ("scripts", ".ci"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("facekit", "conversion", "examples"):
        (root / name).symlink_to(ROOT / name)
    return root


def ask(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A bare system: no environment of pip, and a working directory elsewhere.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        [str(script), *arguments],
        cwd=script.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_script_and_installs_nothing(clone: Path, script: str, option: str) -> None:
    done = ask(clone / script, option)

    assert (done.returncode, done.stderr) == (0, "")
    assert script in done.stdout
    assert not {"#", "set"} & {line.partition(" ")[0] for line in done.stdout.splitlines()}
    assert sorted(path.name for path in clone.iterdir()) == [
        ".ci", "conversion", "examples", "facekit", "scripts"
    ]  # fmt: skip


def test_help_of_serve_is_the_commands_own_and_other_options_do_not_hide_it(clone: Path) -> None:
    if shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") is None:
        pytest.skip("this machine has no python3 of its own")

    done = ask(clone / "scripts/serve", "--http-port", "0", "--help")

    assert "--restrict-management" in done.stdout, done.stdout


@pytest.mark.parametrize("name", ["a:b", '"x"', "$HOME", "`id`", "back\\slash", "two\nlines"])
def test_setup_in_a_folder_that_pip_cannot_take_says_so_at_once(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    shutil.copytree(ROOT / "scripts", root / "scripts")

    done = ask(root / "scripts/setup")

    assert done.returncode == 1
    assert f"setup: {root}/.venv: a path with" in done.stderr
    assert "move the clone" in done.stderr
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        ([], True),
        (["-x", "-k", "y z"], True),
        (["tests/a.py::test_b[c d]", "-x"], False),
        (["-v", "tests"], False),
    ],
)
def test_test_passes_options_on_and_runs_what_is_named_without_workers(
    clone: Path, options: list[str], workers: bool
) -> None:
    (clone / "tests").mkdir()
    (clone / "tests/a.py").touch()
    (clone / ".venv/bin").mkdir(parents=True)
    for path, text in (("scripts/setup", ""), (".venv/bin/python", 'printf "%s\\n" "$@"\n')):
        (clone / path).write_text(f"#!/bin/sh\n{text}")
        (clone / path).chmod(0o755)

    done = ask(clone / "scripts/test", *options)

    given = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"] if workers else []
    assert done.stdout.splitlines() == ["-m", "pytest", *given, *options], done.stderr
