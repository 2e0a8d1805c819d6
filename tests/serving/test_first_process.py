"""``facekit serve`` as the first process of a container: nobody else reaps, and no default acts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.serving import processes
from facekit.serving.ports import choose_ports
from tests.serving.test_supervisor import OPTIONS
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for
from tests.shared import triton_of

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not can_unshare(), reason="may not make a process namespace")


class First:
    """A server that has the process id 1 where it runs."""

    def __init__(self, folder: Path) -> None:
        repository = tiny_repository(folder / "models")
        self._said = folder / "said.txt"
        ports = choose_ports("127.0.0.1", dict.fromkeys(OPTIONS, 0))
        command = [*NAMESPACE, sys.executable, "-m", "facekit.cli", "serve"]
        command += [f"--model-repository={repository}"]
        command += [f"{option}={port}" for option, port in ports.items()]
        with self._said.open("w") as output:
            self.outer = subprocess.Popen(command, stderr=output)
        wait_for(lambda: bool(processes.children(self.outer.pid)))
        (process,) = processes.children(self.outer.pid)
        self.pid = process.pid

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8")

    def ready(self, times: int = 1) -> bool:
        return wait_for(lambda: self.said.count(": ready") >= times)

    def zombies(self) -> list[processes.Process]:
        return [child for child in processes.children(self.pid) if not child.alive]


@pytest.fixture
def first(tmp_path: Path) -> Iterator[First]:
    first = First(tmp_path)
    try:
        yield first
    finally:
        first.outer.kill()
        first.outer.wait()


def test_first_process_ends_at_a_signal(first: First) -> None:
    assert first.ready(), first.said

    os.kill(first.pid, signal.SIGTERM)

    assert first.outer.wait(60) == 0
    assert first.said.rstrip().endswith("stopping")


def test_first_process_ends_at_a_signal_before_it_serves(first: First) -> None:
    # Python itself takes a moment to start, until when the kernel drops the signal.
    def ended() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first.pid, signal.SIGTERM)
        return first.outer.poll() is not None

    assert wait_for(ended)
    assert first.outer.returncode == 0
    assert "ready" not in first.said


def test_first_process_reaps_what_others_leave_and_mends_without_a_zombie(first: First) -> None:
    assert first.ready(), first.said
    # As `docker exec` does: the shell ends, and what it started is handed to the first process.
    enter = ["nsenter", f"--target={first.pid}", "--pid", "--mount", "sh", "-c"]
    subprocess.run([*enter, "sleep 0.5 & sleep 0.5 &"], check=True, timeout=60)
    before = processes.children(first.pid)
    orphans = [child for child in before if "sleep" in processes.arguments(child.pid)]
    assert len(orphans) == 2

    assert wait_for(lambda: all(processes.read(child.pid) is None for child in orphans))
    assert first.outer.poll() is None

    server = triton_of(first.pid)
    os.kill(processes.children(server.pid)[0].pid, signal.SIGKILL)
    assert first.ready(2), first.said
    assert wait_for(lambda: not first.zombies())
