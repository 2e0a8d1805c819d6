"""Which Triton ``scripts/convert`` builds on, and what it refuses before anything is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conversion.host.base import host_gpus
from facekit.engines.machine import Gpu
from tests.conversion.host.conftest import BASE, IMAGE, ROOT, Host
from tests.fakes.docker_engine import FakeEngine

Capture = pytest.CaptureFixture[str]
T4, V100, B200 = "Tesla T4, 7.5", "Tesla V100-SXM2-32GB, 7.0", "NVIDIA B200, 10.0"


def image(tag: str) -> str:
    return f"nvcr.io/nvidia/tritonserver:{tag}-py3"


@pytest.fixture
def clone(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose clone has the kit's networks."""
    for name in ("facenet", "fpenet"):
        network = host.models / name / "1" / "model.onnx"
        network.parent.mkdir(parents=True, exist_ok=True)
        network.write_bytes(b"network")
    (host.root / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{host.root / 'bin'}:/usr/bin:/bin")
    host.engine.variables.append("NVIDIA_TRITON_SERVER_VERSION=24.04")
    return host


def has(host: Host, gpu: str, driver: str = "615.61") -> None:
    """Let ``nvidia-smi`` tell of a GPU."""
    program = host.root / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{gpu}, {driver}.03'\necho \"$@\" >{host.root}/asked\n")
    program.chmod(0o755)


def said(capsys: Capture) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "gpu", "driver", "tag"),
    [
        (["--weights", "open"], T4, "615.61", "26.10"),
        (["--weights", "open"], B200, "615.61", "26.10"),
        (["--weights", "open"], T4, "610.43", "26.07"),
        (["--weights", "open"], T4, "595.58", "26.07"),
        (["--weights", "open"], V100, "550.54", "24.09"),
        (["--weights", "nvidia", "--accept-eula"], T4, "550.54", "24.04"),
        (["--accept-eula"], V100, "615.61", "24.04"),
    ],
)
def test_base_is_the_newest_that_fits_weights_gpu_and_driver(
    clone: Host, capsys: Capture, words: list[str], gpu: str, driver: str, tag: str
) -> None:
    has(clone, gpu, driver)
    assert clone.convert(*words) == 0
    (build,) = clone.calls("build")
    assert build["env"].get("TRITON_IMAGE", BASE) == image(tag)
    assert (clone.root / "asked").read_text().startswith("--id=0 --query-gpu=name,compute_cap,")
    text = said(capsys)
    assert f"convert: ok    base           Triton {tag}, TensorRT" in text
    for_server = f"in .env, for the server too: TRITON_IMAGE={image(tag)}"
    assert (for_server in text) == (tag != "24.04")
    assert ("next: docker compose up --build triton-server" in text) == (tag != "24.04")


@pytest.mark.parametrize("command", ["plan", "all", "--check"])
@pytest.mark.parametrize(
    ("gpu", "tag", "words"),
    [
        (B200, "", "NVIDIA B200 (10.0) is too new for TensorRT 8.6.3"),
        (B200, "24.12", "Triton 24.12: NVIDIA B200 (10.0) is too new for TensorRT 8.6.3"),
        (T4, "26.10", "Triton 26.10: TensorRT 11 cannot read a UFF or .etlt model"),
    ],
)
def test_what_the_base_cannot_do_is_refused_before_anything_is_fetched(
    clone: Host, capsys: Capture, command: str, gpu: str, tag: str, words: str
) -> None:
    has(clone, gpu)
    clone.engine = FakeEngine()
    asked = {"TRITON_IMAGE": image(tag)} if tag else {}
    assert clone.convert(command, "--weights", "nvidia", **asked) == 2
    text = said(capsys)
    assert "convert: FAIL  base" in text and words in text
    assert clone.calls("build") == clone.calls("run") == []


def test_base_that_was_asked_for_is_kept_and_its_holes_are_told(
    clone: Host, capsys: Capture
) -> None:
    has(clone, T4, "535.10")
    assert clone.convert("plan", "--weights", "open", TRITON_IMAGE=image("25.10")) == 0
    assert clone.calls("build")[0]["env"]["TRITON_IMAGE"] == image("25.10")
    text = said(capsys)
    assert "ok    base           Triton 25.10, TensorRT 10.13.3, for Tesla T4 (7.5)" in text
    assert (
        "warn  base           Triton 2.62.0 has known holes (12 CVEs, the last closed in 26.07"
        in text
    )
    assert "the NVIDIA driver 535 is older than 580" in text


def test_base_asked_for_that_reads_no_etlt_takes_the_open_weights(
    clone: Host, capsys: Capture
) -> None:
    (clone.root / ".env").write_text(f"TRITON_IMAGE={image('26.10')}\n")
    assert clone.convert("plan") == 0
    assert "FAIL" not in said(capsys)


def test_image_of_another_base_is_built_again(clone: Host, capsys: Capture) -> None:
    clone.engine = FakeEngine([IMAGE], state={})
    clone.engine.variables.append("NVIDIA_TRITON_SERVER_VERSION=24.04")
    assert clone.convert("plan", "--weights", "open") == 0
    assert len(clone.calls("build")) == 1
    assert "todo  image          facekit/converter:0.1.0 is of another base" in said(capsys)


def test_image_of_the_same_base_is_used_where_it_cannot_be_built(clone: Host) -> None:
    clone.engine = FakeEngine([IMAGE], state={})
    clone.engine.variables.append("NVIDIA_TRITON_SERVER_VERSION=26.10")
    assert clone.convert("plan", "--weights", "open") == 0
    assert clone.calls("build") == []


def test_own_base_is_used_as_it_is(clone: Host, capsys: Capture) -> None:
    assert clone.convert("plan", TRITON_IMAGE="my/own:latest") == 0
    assert "ok    base           my/own:latest, which is not known here" in said(capsys)


def test_gpu_that_the_image_s_tensorrt_does_not_know_fails_in_the_container_too(
    clone: Host, capsys: Capture
) -> None:
    gpus = [{"name": "NVIDIA B200", "compute_capability": "10.0"}]
    clone.engine = FakeEngine([IMAGE, BASE], machine={"gpus": gpus})
    assert clone.convert("--check", TRITON_IMAGE="my/own:latest") == 2
    assert "FAIL  GPU            NVIDIA B200 (10.0) is too new" in said(capsys)


def test_gpus_of_another_machine_are_not_asked_for(clone: Host) -> None:
    has(clone, B200)
    assert clone.convert("plan", DOCKER_HOST="tcp://engine:2375") == 0
    assert not (clone.root / "asked").exists()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'NVIDIA A10, 8.6, 550.54.15'; echo 'NVIDIA A10, 8.6, 550.54.15'", 2),
        ("echo 'NVIDIA A10, [N/A], 550.54.15'", 0),
        ("exit 6", 0),
    ],
)
def test_host_gpus_are_what_nvidia_smi_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: int
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    gpus, driver = host_gpus("0,1")
    assert gpus == [Gpu("NVIDIA A10", "8.6")] * expected
    assert driver == (550 if expected else None)


def test_kit_s_own_repository_gets_the_newest_base(clone: Host) -> None:
    shutil.rmtree(clone.models)
    shutil.copytree(ROOT / "model_repository", clone.models)
    assert clone.convert("plan", "--weights", "open") == 0
    assert clone.calls("build")[0]["env"]["TRITON_IMAGE"] == image("26.10")
