import os
import subprocess
import sys

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
    processes.reap_orphans(keep=None)

    assert processes.read(child) is None
    assert processes.arguments(child) == []


def test_reap_orphans_leaves_the_kept_child() -> None:
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", "raise SystemExit(3)"])
    before = processes.read(child)
    assert before is not None
    assert wait_for(lambda: not processes.still_runs(before))

    processes.reap_orphans(keep=child)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
