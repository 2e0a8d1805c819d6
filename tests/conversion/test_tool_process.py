"""A tool's output, its silence, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conversion.errors import BuildError
from conversion.tool_process import ToolRun, explain, run_tool
from tests.conversion.conftest import ROOT
from tests.serving.waiting import wait_for


def script(folder: Path, body: str) -> str:
    path = folder / "tool"
    path.write_text(f"#!{sys.executable}\nimport os, signal, subprocess, sys, time\n{body}\n")
    path.chmod(0o755)
    return str(path)


def run(folder: Path, body: str, **options: object) -> tuple[ToolRun, list[str]]:
    said: list[str] = []
    done = run_tool([script(folder, body)], task="building", say=said.append, **options)
    return done, said


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_output_is_handed_on_line_by_line(tmp_path: Path) -> None:
    done, said = run(tmp_path, "print('one'); print('two', file=sys.stderr, end='')")
    assert sorted(said) == ["  | one", "  | two"]
    assert (done.code, done.timed_out) == (0, False)


def test_tail_keeps_the_last_lines(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "[print(n) for n in range(100)]; sys.exit(3)")
    assert (done.tail[-1], done.code, done.ending) == ("99", 3, "ended with exit code 3")
    assert len(done.tail) == 12


def test_silence_is_broken_by_a_sign_of_life(tmp_path: Path) -> None:
    _, said = run(tmp_path, "time.sleep(0.5)", status_s=0.1)
    assert said[0] == "building: takes minutes, 0:00 so far"


def test_sign_of_life_goes_on_after_the_tool_closed_its_output(tmp_path: Path) -> None:
    _, said = run(tmp_path, "os.close(1); os.close(2); time.sleep(0.5)", status_s=0.1)
    assert said[0] == "building: takes minutes, 0:00 so far"


@pytest.mark.parametrize("silent", [True, False])
def test_hanging_tool_is_ended(tmp_path: Path, silent: bool) -> None:
    body = "time.sleep(600)" if silent else "while True: print('x', flush=True); time.sleep(0.05)"
    done, _ = run(tmp_path, body, limit_s=0.5)
    assert done.timed_out
    assert done.ending == "was ended after 0:00"


def test_tool_s_own_children_end_with_it(tmp_path: Path) -> None:
    body = "print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    done, _ = run(tmp_path, body)
    assert wait_for(lambda: not alive(int(done.tail[0])))


def test_crash_is_named(tmp_path: Path) -> None:
    done, _ = run(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert done.ending == "was killed by SIGSEGV"


def test_secret_is_not_handed_on(tmp_path: Path) -> None:
    done, said = run(tmp_path, "print('key s3cret here')", secret="s3cret")
    assert said == ["  | key *** here"]
    assert done.tail == ("key *** here",)


def test_tool_does_not_get_the_account_s_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGC_API_KEY", "nvapi-secret")
    done, _ = run(tmp_path, "print([n for n in os.environ if 'NGC' in n])")
    assert done.tail == ("[]",)


def test_missing_tool_says_so(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"gone cannot be executed: it is missing"):
        run_tool([str(tmp_path / "gone")], task="building", say=print)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_tool_ends_with_its_converter(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    body = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    converter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from conversion.tool_process import run_tool;"
            "run_tool(sys.argv[1:], task='building', say=print)",
            script(tmp_path, body),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        assert wait_for(lambda: note.exists() and note.read_text() != "")
        converter.send_signal(number)
        converter.wait(30)
        assert wait_for(lambda: not alive(int(note.read_text())))
    finally:
        converter.kill()
        converter.wait()


@pytest.mark.parametrize(
    ("code", "timed_out", "cause"),
    [
        (-9, True, "likely: the tool hangs"),
        (-9, False, "likely: the machine ran out of memory"),
        (-11, False, "likely: the tool crashed"),
        (1, False, "what to do: read its lines above"),
    ],
)
def test_ending_tells_the_cause_where_the_lines_do_not(
    code: int, timed_out: bool, cause: str
) -> None:
    run = ToolRun(code, ("a line",), 65.0, timed_out)
    assert cause in explain(run, "it wrote no engine", "trtexec", "facenet")


@pytest.mark.parametrize(
    "said",
    [
        "[E] Error[1]: [caskUtils.cpp::trtSmToCask::147] Internal Error (Unsupported SM: 0x809)",
        "Error Code 9: (Target GPU SM 61 is not supported by this TensorRT release.",
        "CUDA error: no kernel image is available for execution on the device",
    ],
)
def test_gpu_that_tensorrt_does_not_know_is_told_by_the_tools_own_words(said: str) -> None:
    text = explain(ToolRun(1, (said,), 5.0, False), "it wrote no engine", "trtexec", "facenet")
    assert "likely: this TensorRT does not know this GPU" in text
    assert "what to do: take another Triton (TRITON_IMAGE in .env)" in text
