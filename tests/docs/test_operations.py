"""The numbers of docs/operations.md are those in force."""

from __future__ import annotations

from pathlib import Path

import yaml

from facekit import files
from facekit.serving import installation, limits

ROOT = Path(__file__).parents[2]
# Line ends and columns are the editor's.
PAGE = " ".join((ROOT / "docs" / "operations.md").read_text("utf-8").split())


def test_limits_are_the_ones_in_force() -> None:
    assert f"stacks of {limits.STACK_BYTES // limits.MIB} MiB" in PAGE
    assert f"below {limits._STACK_WANTED // limits.MIB} MiB a note" in PAGE
    assert f"up to {limits._OPEN_FILES:,}" in PAGE
    assert f"hard limit is below {limits._OPEN_FILES_MINIMUM} the start is refused" in PAGE
    assert f"A start needs {installation._SHM_MINIMUM // 2**20} MiB free" in PAGE
    assert f"below {installation._SHM_AMPLE // 2**20:,} MiB it says" in PAGE
    assert f"more than {files._MAX_SQLITE_BYTES} bytes" in PAGE


def test_containers_have_the_shared_memory_that_is_advised() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for name in ("triton-server", "triton-cpu"):
        assert int(services[name]["shm_size"].rstrip("m")) * 2**20 >= installation._SHM_AMPLE
    assert "`--shm-size 3g`" in PAGE and "--shm-size 3g" in installation._SHM_ADVICE
