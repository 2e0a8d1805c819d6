"""The converter where a tool fails, the machine does not fit, or somebody kills it.

Nothing half done may ever be visible in the model repository, and the next run goes on from there.
"""

from __future__ import annotations

import os
import time

import pytest

from facekit.engines.manifest import engine_path
from tests.docker import engine
from tests.docker.converter_setup import USER, Converter, half_made

pytest_plugins = ("tests.docker.converter_fixtures",)
SLOW_DOWNLOAD = {"rules": [{"path": "*model.etlt", "on": "storage", "bytes_per_second": 2000}]}


# Tools that fail.


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("no-engine", ("it wrote no engine",)),
        ("empty", ("the engine is empty",)),
        ("half", ("the engine does not load", "half an engine")),
        ("wrong-key", ("does not open the file",)),
        ("crash", ("SIGSEGV",)),
        ("memory", ("too little free memory",)),
    ],
)
def test_tool_that_fails_is_explained_and_leaves_the_old_engine(
    converter: Converter, mode: str, words: tuple[str, ...]
) -> None:
    assert converter.run("fetch").code == 0
    assert converter.run("build", "facenet").code == 0
    before = converter.made()
    done = converter.run("build", "--force", "facenet", FAKE_TOOL_MODE=mode)
    assert done.code == 1, done.output
    for each in ("facenet", *words):
        assert each.lower() in done.output.lower(), done.output
    assert "Traceback" not in done.output
    assert converter.made() == before


def test_exit_code_of_a_tool_alone_does_not_condemn_a_whole_engine(converter: Converter) -> None:
    assert converter.run("fetch", "facenet").code == 0
    done = converter.run("build", "facenet", FAKE_TOOL_MODE="exit-1")
    assert done.code == 0, done.output
    assert "exit code 1, and there is an engine all the same" in done
    assert converter.fits("facenet")


def test_engine_that_does_not_load_is_not_served(converter: Converter) -> None:
    assert converter.run("fetch", "facenet").code == 0
    done = converter.run("build", "facenet", FAKE_LOAD_MODE="fail")
    assert done.code == 1, done.output
    assert "deserialization failed" in done
    assert not engine_path(converter.repository, "facenet").exists()


# Machines that don't fit.


def test_no_gpu_is_said_before_anything_is_fetched(converter: Converter) -> None:
    done = converter.all(FAKE_GPUS="")
    assert done.code == 2, done.output
    assert "no NVIDIA GPU" in done
    assert "docker compose --profile cpu up triton-cpu" in done
    assert converter.ngc.requests == []


def test_gpu_without_int8_gets_less_and_is_told(converter: Converter) -> None:
    done = converter.all("facenet", FAKE_GPUS="Tesla P100-PCIE-16GB:6.0")
    assert done.code == 0, done.output
    assert converter.engine("facenet").precision == "fp16"
    assert "INT8" in done


def test_tensorrt_10_can_not_read_an_etlt_and_is_told_the_way_out(converter: Converter) -> None:
    done = converter.all(FAKE_TENSORRT="100001")
    assert done.code == 1, done.output
    assert "--weights open" in done
    assert {name for name in converter.made() if name.endswith(".plan")} == {
        "facemask/1/model.plan"  # an ONNX file, which TensorRT 10 reads
    }
    done = converter.all("--weights", "open", FAKE_TENSORRT="100001")
    assert done.code == 0, done.output
    assert converter.engine("facenet").tensorrt == "10.0.1"


def test_another_gpu_builds_again_without_force(converter: Converter) -> None:
    assert converter.all("facenet").code == 0
    done = converter.all("facenet", FAKE_GPUS="NVIDIA L4:8.9")
    assert done.code == 0, done.output
    assert converter.engine("facenet").gpu == "NVIDIA L4"


def test_pipelines_of_a_gpu_without_cuda_fail_alone(converter: Converter) -> None:
    done = converter.run("all")
    assert done.code == 1, done.output
    assert "a GPU pipeline can only be serialized where CUDA is" in done
    assert converter.engine("facenet").weights == "nvidia"
    assert converter.leftovers() == []


@pytest.mark.parametrize("which", ["repository", "weights"])
def test_folder_that_can_not_be_written_names_the_lines_of_env(
    converter: Converter, which: str
) -> None:
    folder = getattr(converter, which)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1234, 1234)
    done = converter.all()
    assert done.code == 2, done.output
    assert f"user {USER}" in done
    assert "FACEKIT_UID=1234" in done
    assert "Traceback" not in done.output


# Killed with -9 at every stage, and run again.


def wait_for(condition: str, converter: Converter) -> None:
    """Wait until a run has come to a stage, as seen from this machine."""
    engine.wait_until(lambda: _at(condition, converter), condition, 60)


def _at(stage: str, converter: Converter) -> bool:
    if stage == "download":
        return bool(list(converter.weights.rglob("*.part")))
    if stage == "build":
        return len(converter.built()) > 0
    return len(converter.calls()) > len(converter.built())


@pytest.mark.parametrize(
    ("stage", "script", "env"),
    [
        ("download", SLOW_DOWNLOAD, {}),
        ("build", {}, {"FAKE_TOOL_MODE": "hang"}),
        ("load", {}, {"FAKE_LOAD_MODE": "hang"}),
    ],
)
def test_killed_run_leaves_nothing_half_done_and_the_next_one_goes_on(
    converter: Converter,
    all_names: set[str],
    stage: str,
    script: dict[str, object],
    env: dict[str, str],
) -> None:
    converter.ngc.script = script
    process = converter.start("all", "--device", "cpu", **env)
    wait_for(stage, converter)
    converter.kill()
    process.communicate(timeout=60)
    assert half_made(converter) == []
    assert not engine_path(converter.repository, "facenet").exists()
    converter.ngc.script = {}
    done = converter.all()
    assert done.code == 0, done.output
    assert set(converter.made()) == all_names
    assert converter.fits("facenet") and converter.fits("fpenet")
    assert not list(converter.weights.rglob("*.part"))


def test_killed_rebuild_leaves_the_old_engine_serving(converter: Converter) -> None:
    assert converter.all("facenet").code == 0
    before = converter.made()
    calls = len(converter.calls())
    process = converter.start("build", "--force", "facenet", FAKE_TOOL_MODE="hang")
    engine.wait_until(lambda: len(converter.calls()) > calls, "it builds", 60)
    converter.kill()
    process.communicate(timeout=60)
    assert converter.made() == before


def test_run_killed_at_any_time_leaves_nothing_half_done(
    converter: Converter, all_names: set[str]
) -> None:
    for delay_s in (0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4):
        process = converter.start("all", "--device", "cpu", "--force")
        container = converter.container()
        time.sleep(delay_s)
        if engine.run(["docker", "kill", container]).returncode == 0:
            process.communicate(timeout=60)
        assert half_made(converter) == [], delay_s
        process.communicate(timeout=60)
    done = converter.all()
    assert done.code == 0, done.output
    assert set(converter.made()) == all_names
    assert converter.fits("facenet") and converter.fits("fpenet")


def test_stopped_run_ends_at_once_and_leaves_no_tool(converter: Converter) -> None:
    assert converter.run("fetch").code == 0
    process = converter.start("build", "facenet", FAKE_TOOL_MODE="hang")
    wait_for("build", converter)
    container = converter.container()
    start = time.monotonic()
    engine.docker("stop", "--time", "30", container)
    # Not by the SIGKILL that `docker stop` ends with.
    assert time.monotonic() - start < 25
    output, _ = process.communicate(timeout=60)
    assert "stopped" in output


# Two at once.


def test_second_converter_waits_and_says_for_whom(converter: Converter) -> None:
    assert converter.run("fetch").code == 0
    first = converter.start("build", "facenet", FAKE_TOOL_MODE="slow", FAKE_TOOL_SECONDS="6")
    wait_for("build", converter)
    second = converter.all("facenet", FAKE_TOOL_MODE="ok")
    output, _ = first.communicate(timeout=60)
    assert (first.returncode, second.code) == (0, 0), output + second.output
    assert "another converter" in second
    # The first one's engine was good enough for the second.
    assert len(converter.built()) == 1


def test_second_converter_that_shall_not_wait_says_who_works(converter: Converter) -> None:
    assert converter.run("fetch").code == 0
    first = converter.start("build", "facenet", FAKE_TOOL_MODE="hang")
    wait_for("build", converter)
    done = converter.all("--no-wait")
    assert done.code == 2, done.output
    assert "another converter" in done
    converter.kill()
    first.communicate(timeout=60)
    # The dead one's lock is free.
    assert converter.all("--no-wait").code == 0
