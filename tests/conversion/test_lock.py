"""One converter a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conversion.errors import ConversionError, LockedError
from conversion.lock import LOCK_FILE, converter_lock
from tests.conversion.conftest import ROOT

HOLD = (
    "import sys, time; from pathlib import Path; from conversion.lock import converter_lock\n"
    "with converter_lock(Path(sys.argv[1]), wait=True, say=print):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(float(sys.argv[2]))\n"
)


@contextmanager
def holder(repository: Path, seconds: float = 600) -> Iterator[subprocess.Popen[str]]:
    """Another converter that holds the lock for so long."""
    command = [sys.executable, "-c", HOLD, str(repository), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_second_converter_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(LockedError) as error:
            with converter_lock(tmp_path, wait=False, say=print):
                pass
    host = os.uname().nodename
    assert f"works on {tmp_path}: process {process.pid} on {host} since 20" in str(error.value)


def test_second_converter_waits_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    with holder(tmp_path, 0.5) as process:
        with converter_lock(tmp_path, wait=True, say=said.append, status_s=0.1):
            # The holder lets go of the lock a moment before it ends.
            process.wait(30)
    assert said[0].startswith(
        f"waiting for another converter on {tmp_path}: process {process.pid} on "
    )
    assert len(said) > 1


def test_killed_holder_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with converter_lock(tmp_path, wait=False, say=print):
            pass


def test_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), converter_lock(tmp_path, wait=False, say=print):
        raise RuntimeError
    with converter_lock(tmp_path, wait=False, say=print):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    assert (tmp_path / LOCK_FILE).read_text() == ""


def test_tool_left_behind_does_not_keep_the_lock(tmp_path: Path) -> None:
    with converter_lock(tmp_path, wait=False, say=print):
        left = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        with converter_lock(tmp_path, wait=False, say=print):
            pass
    finally:
        left.kill()
        left.wait()


def test_missing_repository_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"gone: cannot be written: No such file"):
        with converter_lock(tmp_path / "gone", wait=False, say=print):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_repository_names_the_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConversionError, match=r"this is user \d+.*chmod u\+rwx"):
        with converter_lock(tmp_path, wait=False, say=print):
            pass


def test_lock_file_of_nobody_counts_as_unnamed(tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="one that has not written its name"):
            with converter_lock(tmp_path, wait=False, say=print):
                pass


def test_file_system_without_locks_is_warned_of_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    said: list[str] = []
    with converter_lock(tmp_path, wait=False, say=said.append):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    assert said == [
        f"warning: {tmp_path} is on a file system without locks (No locks available): make sure "
        "that no other converter works there"
    ]


def test_lock_on_a_full_disk_is_a_lock_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.pwrite", full)
    with converter_lock(tmp_path, wait=False, say=print):
        with pytest.raises(LockedError, match="one that has not written its name"):
            with converter_lock(tmp_path, wait=False, say=print):
                pass
