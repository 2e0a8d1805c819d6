import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facekit.serving import processes
from tests.serving.waiting import wait_for

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)", "an (odd) name"]


def test_children_finds_a_child_and_its_arguments() -> None:
    with subprocess.Popen(SLEEPER) as child:
        try:
            found = {process.pid: process for process in processes.children(os.getpid())}

            assert child.pid in found
            assert found[child.pid].alive
            assert processes.still_runs(found[child.pid])
            assert wait_for(lambda: processes.arguments(child.pid) == SLEEPER)
        finally:
            child.kill()


def test_still_runs_of_a_zombie_is_false_and_reaping_takes_it_away() -> None:
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", ""])
    before = processes.read(child)
    assert before is not None

    assert wait_for(lambda: not processes.still_runs(before))
    assert processes.read(child) is not None
    processes.reap_orphans()

    assert processes.read(child) is None
    assert processes.arguments(child) == []


def test_reap_orphans_leaves_the_kept_child() -> None:
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", "raise SystemExit(3)"])
    before = processes.read(child)
    assert before is not None
    assert wait_for(lambda: not processes.still_runs(before))

    processes.reap_orphans(keep=(child,))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel keeps no schedstat"
)
def test_wanted_seconds_count_the_wait_for_a_core() -> None:
    spin = [sys.executable, "-S", "-c", "print(flush=True)\nwhile True: pass"]
    sleep = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(600)"]
    core = {min(os.sched_getaffinity(0))}
    children = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, core)
        )
        for command in (sleep, spin, spin, spin)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        found = [process for child in children if (process := processes.read(child.pid))]
        started = time.monotonic()
        before = [processes.wanted_seconds([process]) for process in found]
        used = processes.cpu_seconds(found)
        time.sleep(0.6)
        wanted = [
            processes.wanted_seconds([process]) - earlier
            for process, earlier in zip(found, before, strict=True)
        ]
        used = processes.cpu_seconds(found) - used
        passed = time.monotonic() - started

        # Three share one core, and each wants one all the time.
        assert used < 1.3 * passed
        assert sum(wanted[1:]) > 2 * passed
        assert wanted[0] < 0.5 * passed
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert processes.wanted_seconds(found) == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL (is there enough memory?)"),
        (-11, "was ended by SIGSEGV"),
        (-40, "was ended by signal 40"),
    ],
)
def test_exit_reason_names_code_or_signal(code: int, expected: str) -> None:
    assert processes.exit_reason(code) == expected
