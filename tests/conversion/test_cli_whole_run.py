"""The command from beginning to end: a server that plays NGC, and tools that check every argument.

The machine's own TensorRT and CUDA are libraries of a few lines. GPU pipelines can't be written
without CUDA, so these runs write those for the CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from conversion.commands import ENGINE
from facekit.engines.manifest import read_manifest
from tests.conversion.conftest import REPOSITORY, ROOT, VARIABLES
from tests.fakes import networks, nvidia
from tests.fakes.ngc_scenarios import KEY
from tests.fakes.ngc_server import NgcServer

FAKES = ROOT / "tests" / "fakes"
FACENET = "facenet_vpruned_quantized_v2.0.1"
FPENET = "fpenet_vdeployable_v3.0"
CONVERTER = "tao-converter_v5.1.0_8.6.3.1_x86"
ENGINES = ("facenet/1/model.plan", "fpenet/1/model.plan")

pytestmark = pytest.mark.skipif(
    nvidia.COMPILER is None, reason="no C compiler (cc) on this machine"
)


@dataclass
class Bench:
    """A copy of the model repository, a machine with an A10, and a folder of what NGC has."""

    folder: Path
    server: NgcServer

    @property
    def repository(self) -> Path:
        return self.folder / "models"

    def calls(self) -> list[list[str]]:
        """What the tools were called with, the tool's name first."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [[call["tool"], *call["argv"]] for call in map(json.loads, lines)]

    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if name not in VARIABLES}
        return {
            **kept,
            "LD_LIBRARY_PATH": str(self.folder / "libraries"),
            "FAKE_TENSORRT": "8603",
            "FAKE_GPUS": "NVIDIA A10:8.6",
            "FAKE_TOOL_LOG": str(self.folder / "calls"),
            "FACEKIT_TRTEXEC": str(FAKES / "trtexec.py"),
            "FACEKIT_NGC_URL": self.server.url,
            "FACEKIT_MODEL_REPOSITORY": str(self.repository),
            "FACEKIT_WEIGHTS_DIR": str(self.folder / "weights"),
            "FACEKIT_ACCEPT_EULA": "yes",
        }

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "conversion", *argv],
            cwd=ROOT,
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def engines(self) -> Mapping[str, bytes]:
        return {name: (self.repository / name).read_bytes() for name in ENGINES}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    shutil.copytree(
        REPOSITORY,
        tmp_path / "models",
        ignore=shutil.ignore_patterns("*.plan", "plan.json", "*.gpu.dali", "__pycache__"),
    )
    nvidia.build(tmp_path / "libraries")
    files = {
        f"{FACENET}/model.etlt": networks.facenet_etlt(size=50_000),
        f"{FACENET}/int8_calibration.txt": networks.calibration_cache(),
        f"{FPENET}/model.etlt": networks.fpenet_etlt(size=50_000),
        f"{CONVERTER}/tao-converter": (FAKES / "tao_converter.py").read_bytes(),
    }
    for name, content in files.items():
        path = tmp_path / "ngc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with NgcServer(tmp_path / "ngc") as server:
        yield Bench(tmp_path, server)


def test_all_makes_engines_and_says_what_was_made(bench: Bench) -> None:
    done = bench.run("all", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = [re.sub(r" in \d+:\d\d$", "", row) for row in done.stdout.splitlines()]
    assert rows == [
        "facenet    nvidia  built, INT8 for NVIDIA A10",
        "fpenet     nvidia  built, FP16 for NVIDIA A10",
        "facemask   open    built, FP16 for NVIDIA A10",
        "pipelines  cpu     6 files written",
        "verify             all fits",
    ]
    facenet = read_manifest(bench.repository, "facenet")
    assert facenet is not None
    assert (facenet.weights, facenet.tensorrt, facenet.gpu) == ("nvidia", "8.6.3", "NVIDIA A10")


def test_second_run_changes_no_engine_and_fetches_nothing(bench: Bench) -> None:
    assert bench.run("all", "--device", "cpu").returncode == 0
    engines, requests = bench.engines(), len(bench.server.requests)
    done = bench.run("all", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "facenet    nvidia  up to date"
    assert (bench.engines(), len(bench.server.requests)) == (engines, requests)


@pytest.mark.parametrize("weights", ["nvidia", "open"])
def test_tools_are_called_with_what_the_plan_prints(bench: Bench, weights: str) -> None:
    plan = bench.run("plan", "--json", "--weights", weights)
    assert plan.returncode == 0, plan.stderr
    expected = []
    for engine in json.loads(plan.stdout)["engines"]:
        expected += [engine["command"], engine["check"]]
    assert bench.run("fetch", "--weights", weights).returncode == 0
    done = bench.run("build", "--weights", weights)
    assert done.returncode == 0, done.stderr
    called = []
    for call in bench.calls():
        work = rf"{re.escape(str(bench.folder))}/weights/build/\w+/model\.plan"
        called.append([re.sub(work, ENGINE, word) for word in call])
    assert called == expected


def test_models_fail_one_by_one(bench: Bench) -> None:
    (bench.folder / "ngc" / FACENET / "model.etlt").unlink()
    done = bench.run("all", "--device", "cpu")
    assert done.returncode == 1
    assert "facenet    nvidia  FAILED: model.etlt of nvidia/tao/facenet" in done.stdout
    assert "fpenet     nvidia  built" in done.stdout
    assert not (bench.repository / ENGINES[0]).exists()


def test_failed_build_leaves_the_engine_that_served(bench: Bench) -> None:
    assert bench.run("build", "--weights", "open").returncode == 0
    engines = bench.engines()
    done = bench.run("build", "--weights", "open", "--force", FAKE_TOOL_MODE="half")
    assert done.returncode == 1
    assert bench.engines() == engines


def test_key_is_in_no_output_and_no_file(bench: Bench) -> None:
    done = bench.run("all", "--device", "cpu", NGC_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    holding = [
        path
        for path in bench.folder.rglob("*")
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert holding == []


def test_other_gpu_makes_every_engine_anew(bench: Bench) -> None:
    assert bench.run("build", "--weights", "open").returncode == 0
    done = bench.run("plan", "--weights", "open", FAKE_GPUS="Tesla P100:6.0")
    assert (
        "the engine is for NVIDIA A10 (compute capability 8.6), here is Tesla P100" in done.stdout
    )


def test_folder_of_ngc_s_own_tool_needs_no_network(bench: Bench) -> None:
    source = str(bench.folder / "ngc")
    done = bench.run(
        "all", "--device", "cpu", "--from", source, FACEKIT_NGC_URL="http://127.0.0.1:1"
    )
    assert done.returncode == 0, done.stderr
    assert bench.server.requests == []


def test_sigterm_stops_the_tool_and_leaves_nothing_behind(bench: Bench) -> None:
    environment = {**bench.environment(), "FAKE_TOOL_MODE": "hang"}
    run = subprocess.Popen(
        [sys.executable, "-m", "conversion", "build", "--weights", "open"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(lambda: (bench.folder / "calls").is_file())
        run.terminate()
        _, said = run.communicate(timeout=30)
    finally:
        run.kill()
    assert run.returncode == 143
    assert said.endswith("engines that were there before still are\n")
    assert not _processes_of(bench.folder)
    assert not list(bench.repository.rglob("*.part")) + list(bench.repository.rglob("*.plan"))


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def _processes_of(folder: Path) -> list[bytes]:
    """The command lines of processes that work in a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes())
    return [line for line in found if os.fsencode(folder) in line]
