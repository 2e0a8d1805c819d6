from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from facekit.errors import SetupError
from facekit.limits import MAX_PHOTO_BYTES
from facekit.serving import limits

GIB = 2**30
INFINITY = resource.RLIM_INFINITY


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[int, tuple[int, int]]:
    """Return the limits in force, to be changed; 64 GiB of memory, usual overcommit."""
    given = {
        resource.RLIMIT_STACK: (8 * limits.MIB, INFINITY),
        resource.RLIMIT_NOFILE: (1024, 2**20),
        resource.RLIMIT_AS: (INFINITY, INFINITY),
        resource.RLIMIT_DATA: (INFINITY, INFINITY),
    }
    memory = {"SC_PHYS_PAGES": 64 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(resource, "getrlimit", given.__getitem__)
    monkeypatch.setattr(os, "sysconf", memory.__getitem__)
    monkeypatch.setattr(limits, "_PROC", tmp_path)
    overcommit(tmp_path, 0)
    return given


def overcommit(proc: Path, mode: int) -> None:
    (proc / "sys/vm").mkdir(parents=True, exist_ok=True)
    (proc / "sys/vm/overcommit_memory").write_text(f"{mode}\n", "utf-8")
    text = "MemTotal: 9 kB\nCommitLimit: 33554432 kB\nCommitted_AS: 12582912 kB\n"  # 20 GiB left
    (proc / "meminfo").write_text(text, "utf-8")


@pytest.mark.parametrize("soft", [2**16, 8 * limits.MIB, INFINITY])
def test_stack_takes_a_form_body_over_the_limit(
    machine: dict[int, tuple[int, int]], soft: int
) -> None:
    machine[resource.RLIMIT_STACK] = (soft, INFINITY)

    chosen = limits.process_limits()

    assert 2 * (MAX_PHOTO_BYTES + 40 * 10**6) < chosen.stack_bytes <= GIB
    assert chosen.note == ""


def test_stack_larger_than_wanted_is_kept(machine: dict[int, tuple[int, int]]) -> None:
    machine[resource.RLIMIT_STACK] = (2 * GIB, INFINITY)

    assert limits.process_limits().stack_bytes == 2 * GIB


def test_stack_under_a_low_hard_limit_takes_it_and_says_so(
    machine: dict[int, tuple[int, int]],
) -> None:
    machine[resource.RLIMIT_STACK] = (8 * limits.MIB, 16 * limits.MIB)

    chosen = limits.process_limits()

    assert chosen.stack_bytes == 16 * limits.MIB
    assert "16 MiB of stack" in chosen.note and "ulimit -Hs" in chosen.note
    assert "above 8 MiB, so send Content-Type: application/octet-stream" in chosen.note


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_stack_leaves_half_of_a_limited_address_space(
    machine: dict[int, tuple[int, int]], kind: int
) -> None:
    machine[kind] = (40 * GIB, INFINITY)

    chosen = limits.process_limits()

    assert 696 * chosen.stack_bytes < 20 * GIB
    assert chosen.stack_bytes > 16 * limits.MIB
    assert "ulimit -v" in chosen.note


def test_stack_under_strict_overcommit_leaves_half_of_what_is_left(
    machine: dict[int, tuple[int, int]], tmp_path: Path
) -> None:
    overcommit(tmp_path, 2)

    chosen = limits.process_limits()

    assert 696 * chosen.stack_bytes < 10 * GIB
    assert "vm.overcommit_memory" in chosen.note


def test_stack_on_a_small_machine_is_less_than_its_memory(
    machine: dict[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = {"SC_PHYS_PAGES": GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", memory.__getitem__)

    assert limits.process_limits().stack_bytes == GIB // 4


def test_open_files_are_raised_and_never_lowered(machine: dict[int, tuple[int, int]]) -> None:
    machine[resource.RLIMIT_NOFILE] = (64, 4096)
    assert limits.process_limits().open_files == 4096

    # Docker's older default: programs that look at each possible file would take minutes.
    machine[resource.RLIMIT_NOFILE] = (1024, 2**30)
    assert limits.process_limits().open_files == 65536

    machine[resource.RLIMIT_NOFILE] = (2**20, 2**20)
    assert limits.process_limits().open_files == 2**20


def test_too_few_open_files_are_refused_with_what_raises_them(
    machine: dict[int, tuple[int, int]],
) -> None:
    machine[resource.RLIMIT_NOFILE] = (64, 64)

    with pytest.raises(SetupError, match=r"64 files here and the server needs 256.*ulimit -n 4096"):
        limits.process_limits()
