"""Every way in which the tools can fail, and in which an engine is no good."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conversion import build as build_module
from conversion.build import build_engine
from conversion.errors import BuildError
from tests.conversion.engines.bench import FAKES, Bench, machine
from tests.fakes import networks

# How the fake is told to fail, and what a person then reads first and last.
FAULTS = [
    ("no-engine", "tao_converter.py ended with exit code 0, and it wrote no engine to", "read its"),
    ("empty", "tao_converter.py ended with exit code 0, and the engine is empty", "read its"),
    ("half", "trtexec.py ended with exit code 1, and the engine does not load", "check that"),
    ("wrong-key", "tao_converter.py ended with exit code 0, and it wrote no engine", "put the key"),
    ("memory", "tao_converter.py ended with exit code 1, and it wrote no engine", "end what else"),
]


@pytest.mark.parametrize(("mode", "first", "remedy"), FAULTS)
def test_fault_is_told_and_leaves_the_old_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: str, first: str, remedy: str
) -> None:
    bench.begin_with_engine()
    before = {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()}
    monkeypatch.setenv("FAKE_TOOL_MODE", mode)
    words = bench.failure()
    assert words.splitlines()[0].startswith(f"facenet: {first}")
    assert words.splitlines()[-1].startswith(f"what to do: {remedy}")
    assert {path.name: path.read_bytes() for path in bench.engine.parent.iterdir()} == before


def test_crash_with_half_an_engine_is_found_by_loading_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TOOL_MODE", "crash")
    assert "the engine does not load" in bench.failure()
    assert any("was killed by SIGSEGV" in line for line in bench.said)
    assert not bench.engine.exists()


def test_hang_is_ended_and_its_engine_not_used(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tool = build_module.run_tool

    def impatient(argv: list[str], **options: object) -> object:
        return run_tool(argv, **{**options, "limit_s": 1.0})

    monkeypatch.setattr(build_module, "run_tool", impatient)
    monkeypatch.setenv("FAKE_TOOL_MODE", "hang")
    words = bench.failure()
    assert "tao_converter.py was ended after 0:01, and so its engine is not used" in words
    assert "likely: the tool hangs" in words


def test_whole_engine_counts_more_than_the_exit_code(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TOOL_MODE", "exit-1")
    bench.build()
    assert bench.reason() is None
    assert any("exit code 1, and there is an engine all the same" in line for line in bench.said)


def test_failed_tool_is_not_believed_where_nothing_can_try_its_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    monkeypatch.setenv("FAKE_TOOL_MODE", "exit-1")
    assert "no trtexec here to check its engine" in bench.failure()


def test_engine_that_could_not_be_tried_is_said_aloud(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    bench.build()
    assert "facenet: trtexec is not here, so the engine was not checked" in bench.said


def test_onnx_without_trtexec_says_where_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "find_trtexec", lambda: None)
    assert "trtexec is not here (PATH, " in bench.failure(bench.job("facenet", "open"))


def test_engine_of_another_tensorrt_is_found_by_loading_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bench.folder / "converter"
    other.write_text(f'#!/bin/sh\nFAKE_TENSORRT=8601 exec {FAKES / "tao_converter.py"} "$@"\n')
    other.chmod(0o755)
    job = bench.job()
    with pytest.raises(BuildError, match="likely: the tool and TensorRT are of different versions"):
        build_engine(
            job,
            bench.network(job),
            job.weights.precision,
            repository=bench.repository,
            work=bench.work,
            machine=machine(),
            tao_converter=other,
            say=bench.said.append,
        )


def test_other_outputs_than_promised_are_refused(bench: Bench) -> None:
    (bench.folder / "fpenet.etlt").write_bytes(networks.fpenet_etlt(points=68))
    words = bench.failure(bench.job("fpenet"))
    assert "the engine has the outputs conv_keypoints_m80 [1, 68, 80, 80]" in words
    assert "correct `outputs:`" in words


def test_work_folder_that_cannot_be_emptied_is_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.work.mkdir()
    (bench.work / "model.plan").write_bytes(b"an engine of a killed run")

    def refuse(_: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", refuse)
        assert "Permission denied; this is user" in bench.failure()
