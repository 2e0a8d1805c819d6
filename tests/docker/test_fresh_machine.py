"""``scripts/demo`` on a bare Debian 13, whose own Python the embedded server cannot use."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.docker import engine
from tests.docker.engine import ROOT

_IMAGE = "facekit-test/debian:trixie"
_DEBIAN = Path(__file__).parent / "base" / "debian.sh"


@pytest.fixture(scope="module")
def image() -> str:
    """Return Debian 13 with its Python 3.13 and nothing else: no pip, no venv, no compiler."""
    if engine.run(["docker", "image", "inspect", _IMAGE]).returncode:
        engine.output_of([str(_DEBIAN), _IMAGE, "trixie", "python3"])
    return _IMAGE


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with uv's list of Pythons and a CPython 3.12 made of one on this machine."""
    prefix = _python_3_12()
    if prefix is None:
        pytest.skip(
            "this machine has no CPython 3.12 with its shared library to make an archive of"
        )
    folder = tmp_path_factory.mktemp("downloads")
    root = folder / "python"
    (root / "bin").mkdir(parents=True)
    shutil.copy(prefix / "bin/python3.12", root / "bin")
    (root / "bin/python3").symlink_to("python3.12")
    left_out = shutil.ignore_patterns("__pycache__", "test", "site-packages", "*.a")
    shutil.copytree(prefix / "lib/python3.12", root / "lib/python3.12", ignore=left_out)
    shutil.copy(prefix / "lib/libpython3.12.so.1.0", root / "lib")
    # As the real archive has it: its program finds the library wherever it was unpacked.
    command = ["patchelf", "--set-rpath", "$ORIGIN/../lib", str(root / "bin/python3.12")]
    subprocess.run(command, check=True)
    archive = folder / "python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(root, "python")
    shutil.rmtree(root)
    version = subprocess.run(
        [prefix / "bin/python3.12", "-c", "import sys; print(sys.version_info.micro)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    entry = {
        "name": "cpython",
        "arch": {"family": platform.machine(), "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": 3,
        "minor": 12,
        "patch": int(version.stdout),
        "prerelease": "",
        "url": "file:///downloads/python.tar.gz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20240101",
    }
    (folder / "list.json").write_text(json.dumps({"cpython-3.12-linux": entry}), "utf-8")
    return folder


def _python_3_12() -> Path | None:
    candidates = [Path(sys.base_prefix), *Path.home().glob(".pyenv/versions/3.12.*")]
    for prefix in candidates:
        if all(
            (prefix / name).is_file() for name in ("bin/python3.12", "lib/libpython3.12.so.1.0")
        ):
            return prefix
    return None


def test_demo_on_a_bare_debian_13(image: str, downloads: Path, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    files = engine.output_of(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    )
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)

    done = engine.run(
        [
            *("docker", "run", "--rm", "--network", "host", "--shm-size", "3g"),
            *("--volume", f"{clone}:/a clone", "--volume", f"{downloads}:/downloads:ro"),
            *("--env", "UV_PYTHON_DOWNLOADS_JSON_URL=/downloads/list.json"),
            *(image, "bash", "-c", "cd '/a clone' && scripts/demo && scripts/setup server,demo"),
        ]
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "getting CPython 3.12 through uv" in done.stderr
    assert "11 faces in 3 photos" in done.stdout
    assert done.stderr.count("installing facekit-triton") == 1  # the second set-up finds everything
    assert (clone / "demo-output/group.faces.jpg").stat().st_size > 10_000
