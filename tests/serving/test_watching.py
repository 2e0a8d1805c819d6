from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from facekit.serving import processes
from facekit.serving.processes import Process
from facekit.serving.watching import Bell, EndWatch
from tests.serving.waiting import wait_for

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER) as child:
        yield child
        child.kill()


def seen(pid: int) -> Process:
    process = processes.read(pid)
    assert process is not None
    return process


def no_pidfd(pid: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.mark.parametrize("reported", [True, False, None])
def test_wait_returns_the_process_that_ended(
    reported: bool | None, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    if reported is None:
        # A Python that was built where the kernel's headers do not have the call.
        monkeypatch.delattr(os, "pidfd_open")
    elif not reported:
        monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    with subprocess.Popen(SLEEPER) as other:
        watched = [seen(sleeper.pid), seen(other.pid)]
        with EndWatch(watched, Bell()) as watch:
            assert watch.wait(0.01) == []
            sleeper.kill()

            found: list[Process] = []
            assert wait_for(lambda: bool(found.extend(watch.wait(60)) or found))

            # A zombie, which nobody has reaped so far, has ended.
            assert found == watched[:1]
        other.kill()


@pytest.mark.parametrize("reaped", [True, False])
def test_wait_returns_one_that_ended_before(reaped: bool, sleeper: subprocess.Popen[bytes]) -> None:
    process = seen(sleeper.pid)
    sleeper.kill()
    if reaped:
        sleeper.wait()
    else:
        assert wait_for(lambda: not processes.still_runs(process))
    with EndWatch([process], Bell()) as watch:
        assert watch.wait(60) == [process]


def test_wait_does_not_take_a_later_process_of_the_same_id_for_the_watched_one(
    sleeper: subprocess.Popen[bytes],
) -> None:
    now = seen(sleeper.pid)
    earlier = Process(now.pid, now.parent, now.state, "1", 0.0)
    with EndWatch([earlier], Bell()) as watch:
        assert watch.wait(60) == [earlier]


def test_bell_ends_a_wait_that_looks_at_nothing(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = Bell()
    with EndWatch([seen(sleeper.pid)], bell) as watch:
        # While processes are waited for, nothing of them is read.
        monkeypatch.setattr(processes, "_PROC", None)
        ring = threading.Timer(0.05, bell.ring)
        ring.start()
        assert watch.wait() == []
        ring.join()

        # Rings before a wait end the next one, all together one.
        bell.ring()
        bell.ring()
        assert watch.wait() == []
        assert watch.wait(0.01) == []


def test_bell_that_nobody_hears_rings_on() -> None:
    bell = Bell()
    for _ in range(100_000):  # more than its pipe takes
        bell.ring()
    with EndWatch([], bell) as watch:
        assert watch.wait() == []
