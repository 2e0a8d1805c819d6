from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from facekit.command import EXIT_FAILED, EXIT_UNUSABLE, run_command
from facekit.errors import ConfigError


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("a: wrong\x1b[2J"), EXIT_UNUSABLE, "kit: a: wrong\\x1b[2J"),
        (KeyboardInterrupt(), 130, "kit: stopped; run it again"),
        (OSError(28, "No space left"), EXIT_UNUSABLE, "kit: cannot write the output: No space"),
        (OSError(2, "No such file", "a.txt"), EXIT_UNUSABLE, "kit: a.txt: No such file"),
        (
            ModuleNotFoundError(name="matplotlib.pyplot"),
            EXIT_UNUSABLE,
            "kit: matplotlib.pyplot is not installed: install facekit-triton[evaluate] (",
        ),
        (
            ModuleNotFoundError(name="redis"),
            EXIT_UNUSABLE,
            "kit: redis is not installed: install facekit-triton[redis] (",
        ),
    ],
    ids=["kit", "ctrl-c", "output", "file", "extra", "other extra"],
)
def test_an_error_becomes_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_command(lambda: fail(error), "kit", extra="evaluate", when_stopped="; run it again")
    assert done == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == 1


def test_the_status_of_the_work_is_the_command_s() -> None:
    assert run_command(lambda: 7, "kit") == 7


def test_a_missing_module_that_no_extra_brings_is_a_fault() -> None:
    with pytest.raises(ModuleNotFoundError):
        run_command(lambda: fail(ModuleNotFoundError(name="facekit.gone")), "kit")


def test_sigterm_stops_where_it_is_handled(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def run() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert run_command(run, "kit", handle_sigterm=True) == 143
    assert capsys.readouterr().err == "kit: stopped by SIGTERM\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    code = (
        "import sys; from facekit.command import run_command;"
        "sys.exit(run_command(lambda: [print(1) for _ in range(99999)] and 0, 'kit'))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == EXIT_FAILED
