"""``scripts/convert`` with a real engine: what it looks at, builds, runs and reports."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from facekit.engines.manifest import engine_path, read_manifest
from tests.docker import engine
from tests.docker.converter_setup import USER, gateway
from tests.docker.engine import ROOT
from tests.fakes.ngc_scenarios import KEY, SCENARIOS
from tests.fakes.ngc_server import NgcServer

pytest_plugins = ("tests.docker.converter_fixtures",)
IMAGE = "facekit-test/converter-of-script:latest"
NAME = "name=facekit-convert-"


@dataclass
class Script:
    """What the script is called with."""

    env: dict[str, str]
    repository: Path
    ngc: NgcServer

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start what ``scripts/convert`` starts when it has set up what is missing."""
        return subprocess.Popen(
            [sys.executable, "-m", "conversion.host.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run it; return its exit code and both streams."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err


@pytest.fixture
def script(converter_base: str, downloads: Path, tmp_path: Path) -> Iterator[Script]:
    repository = engine.copy_repository(tmp_path / "models", owner=USER)
    weights = tmp_path / "weights"
    weights.mkdir()
    os.chown(weights, USER, USER)
    with NgcServer(downloads, host="0.0.0.0") as ngc:
        env = {
            "TRITON_IMAGE": converter_base,
            "FACEKIT_CONVERTER_IMAGE": IMAGE,
            "FACEKIT_MODEL_REPOSITORY": str(repository),
            "FACEKIT_WEIGHTS_DIR": str(weights),
            "FACEKIT_NGC_URL": f"http://{gateway()}:{ngc.port}",
            "FACEKIT_ACCEPT_EULA": "yes",
            "XDG_RUNTIME_DIR": str(tmp_path),
        }
        yield Script(env, repository, ngc)


def test_script_builds_the_image_and_runs_in_it(script: Script) -> None:
    engine.run(["docker", "image", "rm", "--force", IMAGE])
    code, out, err = script("--gpu", "none", "plan")
    assert code == 0, err
    assert "facenet" in out
    assert f"{IMAGE} does not exist: it is built" in err
    code, _, err = script("--gpu", "none", "--check")
    assert code == 0, err
    assert f"convert: ok    image          {IMAGE}" in err


def test_script_makes_engines_and_reports_them(script: Script) -> None:
    code, out, err = script("--gpu", "none", "all", "--device", "cpu")
    assert code == 0, out + err
    assert re.search("facenet +nvidia +built, INT8 for NVIDIA A10", out)
    path = engine_path(script.repository, "facenet")
    assert path.stat().st_uid == USER
    code, out, err = script("--gpu", "none", "build")
    assert code == 0, err
    assert re.search("facenet +nvidia +up to date", out)


def test_script_on_a_machine_without_nvidia_says_what_to_install(script: Script) -> None:
    if "nvidia" in engine.docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("this machine has the NVIDIA runtime")
    code, _, err = script()
    assert code == 2
    assert "FAIL  NVIDIA runtime" in err
    assert "sudo nvidia-ctk runtime configure --runtime=docker" in err


def test_script_with_files_of_this_machine_asks_no_server(script: Script, downloads: Path) -> None:
    script.ngc.stop()
    words = ("--gpu", "none", "--from", str(downloads), "all", "--device", "cpu", "fpenet")
    code, out, err = script(*words)
    assert code == 0, out + err
    made = read_manifest(script.repository, "fpenet")
    assert made is not None
    assert made.weights == "nvidia"


def test_script_hands_the_key_on_without_showing_it(script: Script, tmp_path: Path) -> None:
    script.env["NGC_API_KEY"] = KEY
    slow = {"path": "*model.etlt", "on": "storage", "bytes_per_second": 5000}
    script.ngc.script = {**SCENARIOS["locked"], "rules": [slow]}
    process = script.start("fetch", "facenet")
    container = engine.wait_until(
        lambda: engine.docker("ps", "--quiet", "--filter", NAME).strip(), "it runs"
    )
    assert KEY not in json.dumps(engine.inspect(container))
    assert KEY not in engine.docker("top", container, "-eo", "pid,args")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert KEY not in out + err
    assert not list(tmp_path.glob("facekit-*"))


def test_script_with_downloads_and_networks_in_its_own_folders_finds_them(
    script: Script, downloads: Path
) -> None:
    weights = Path(script.env["FACEKIT_WEIGHTS_DIR"])
    shutil.copytree(downloads, weights, dirs_exist_ok=True)
    for path in (weights, *weights.rglob("*")):
        os.chown(path, USER, USER)
    script.ngc.stop()
    own = script.repository / "mine.yaml"
    stanza = {"file": "facenet/1/model.onnx", "precision": "fp32", "license": "mine"}
    own.write_text(json.dumps({"models": {"facenet": {"weights": {"mine": stanza}}}}))
    options = ("--from", str(weights), "--models", str(own), "--weights", "facenet=mine")
    code, out, err = script("--gpu", "none", *options, "all", "--device", "cpu")
    assert code == 0, out + err
    made = [read_manifest(script.repository, model) for model in ("facenet", "fpenet")]
    assert [each.weights for each in made if each is not None] == ["mine", "nvidia"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_script_interrupted_removes_its_container_and_the_key(
    script: Script, tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"whoever started the tests ignores {number.name}")
    script.env["NGC_API_KEY"] = KEY
    slow = {"path": "*model.etlt", "on": "storage", "bytes_per_second": 500}
    script.ngc.script = {"rules": [slow]}
    process = script.start("fetch", "facenet")
    engine.wait_until(lambda: any(r["on"] == "storage" for r in script.ngc.requests), "it fetches")
    assert list(tmp_path.glob("facekit-*/ngc_api_key"))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping the converter" in err
    assert engine.docker("ps", "--all", "--quiet", "--filter", NAME) == ""
    assert not list(tmp_path.glob("facekit-*"))
