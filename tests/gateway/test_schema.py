"""What OpenAPI says of REST is true: schemathesis makes requests of it, and checks the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from facekit.gateway.access import new_token
from tests.fake_triton import FakeTriton, masks_answer
from tests.gateway.gateways import gateway

ROOT = Path(__file__).parents[2]


def check(url: str, folder: Path, paths: str, *options: str) -> None:
    """Run all checks on the calls whose paths match."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--include-path-regex", paths, "--checks", "all", "--max-examples", "5"]
    command += ["--request-timeout", "60", "--no-color", *options]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.gateway.schema_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test cases:" in done.stdout


def test_answers_are_as_described(url: str, tmp_path: Path) -> None:
    check(url, tmp_path, "^/v1/")


def test_answers_with_tokens_are_as_described(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    token = f"Authorization: Bearer {new_token(path, 'ann')}"
    with (
        FakeTriton(lambda *_: masks_answer()) as fake,
        gateway("--url", fake.url, "--tokens", str(path)) as url,
    ):
        check(url, tmp_path, "^/v1/masks", "--phases", "examples,fuzzing", "--header", token)
