"""The image of ``triton-server`` on a base that stands for the stock one: its check, and serving.

No engine runs here. What the image says of engines that don't fit is proved with libraries that
stand for TensorRT's and CUDA's, and the stock server's path with the networks of the CPU.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from facekit import Client
from facekit.engines.manifest import (
    REPAIR,
    Batch,
    EngineManifest,
    engine_path,
    manifest_path,
    read_manifest,
    sha256_of,
)
from tests.docker import engine
from tests.docker.engine import Compose

A10 = "NVIDIA A10:8.6"
MENDED_S = 15.0
INPUTS = {"facenet": {"input_1": (3, 416, 736)}, "fpenet": {"input_face_images": (1, 80, 80)}}
OUTPUTS = {
    "facenet": {"output_bbox/BiasAdd": (4, 26, 46), "output_cov/Sigmoid": (1, 26, 46)},
    "fpenet": {"conv_keypoints_m80": (80, 80, 80), "softargmax": (80, 2), "softargmax:1": (80,)},
}
PIPELINES = ("facenet_preprocess/1/gray", "faces_preprocess/1/gray", "photo_gray/1/")


def change(repository: Path, model: str, **values: object) -> None:
    """Write other values into a model's ``plan.json``."""
    known = read_manifest(repository, model)
    assert known is not None
    path = manifest_path(repository, model)
    path.write_text(dataclasses.replace(known, **values).to_json(), "utf-8")  # type: ignore[arg-type]
    path.chmod(0o644)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Models with engines that fit an NVIDIA A10 and TensorRT 8.6.3."""
    target = engine.copy_repository(tmp_path / "models")
    for model, outputs in OUTPUTS.items():
        plan = engine_path(target, model)
        plan.write_bytes(b"an engine of " + model.encode())
        manifest = EngineManifest(
            model=model,
            weights="nvidia",
            config="",
            source="model.etlt",
            source_sha256="0" * 64,
            source_format="uff-etlt" if model == "facenet" else "onnx-etlt",
            tensorrt="8.6.3",
            gpu="NVIDIA A10",
            compute_capability="8.6",
            precision="fp16",
            batch=Batch(1, 8, 32),
            outputs=outputs,
            engine_sha256=sha256_of(plan),
            engine_bytes=plan.stat().st_size,
            created="2026-01-01T00:00:00",
            command=("tao-converter",),
            inputs=INPUTS[model],
        )
        manifest_path(target, model).write_text(manifest.to_json(), "utf-8")
    for name in PIPELINES:
        (target / f"{name}{'.' if name.endswith('gray') else ''}gpu.dali").write_bytes(b"pipeline")
    return target


def start(image: str, repository: Path, **variables: str) -> tuple[int, str]:
    """Run the server's image to its end; return exit code and words."""
    given = [f"--env={name}={value}" for name, value in variables.items()]
    mount = f"--volume={repository}:/models:ro"
    hardened = ["--read-only", "--cap-drop=ALL", "--tmpfs=/tmp:exec", "--shm-size=3g"]
    done = engine.run(["docker", "run", "--rm", *hardened, mount, *given, image], timeout_s=120)
    return done.returncode, done.stdout + done.stderr


def test_engines_missing_are_named_with_the_command_that_makes_them(
    gpu_image: str, repository: Path
) -> None:
    for model in OUTPUTS:
        engine_path(repository, model).unlink()
        manifest_path(repository, model).unlink()
    code, words = start(gpu_image, repository, FAKE_GPUS=A10)
    assert code == 2
    assert re.search(r"facenet\b.*(missing|no engine)", words, re.IGNORECASE)
    assert re.search(r"fpenet\b.*(missing|no engine)", words, re.IGNORECASE)
    assert REPAIR in words


def test_engine_of_another_gpu_is_named_with_both_gpus(gpu_image: str, repository: Path) -> None:
    code, words = start(gpu_image, repository, FAKE_GPUS="Tesla T4:7.5")
    assert code == 2
    assert "NVIDIA A10" in words
    assert "Tesla T4" in words
    assert REPAIR in words


def test_engine_of_another_tensorrt_is_named_with_both_versions(
    gpu_image: str, repository: Path
) -> None:
    change(repository, "fpenet", tensorrt="8.6.1")
    code, words = start(gpu_image, repository, FAKE_GPUS=A10)
    assert code == 2
    assert re.search(r"fpenet.*8\.6\.1", words)
    assert "8.6.3" in words
    assert REPAIR in words


def test_engine_of_an_older_network_is_stale(gpu_image: str, repository: Path) -> None:
    change(repository, "facenet", weights="open", source="model.onnx", source_format="onnx")
    code, words = start(gpu_image, repository, FAKE_GPUS=A10)
    assert code == 2
    assert re.search(r"facenet.*model\.onnx", words)
    assert REPAIR in words


def test_engine_file_of_somebody_else_is_refused(gpu_image: str, repository: Path) -> None:
    engine_path(repository, "facenet").write_bytes(b"another one")
    code, words = start(gpu_image, repository, FAKE_GPUS=A10)
    assert code == 2
    assert re.search(r"facenet.*model\.plan", words)
    assert REPAIR in words


def test_machine_without_a_gpu_is_said(gpu_image: str, repository: Path) -> None:
    code, words = start(gpu_image, repository)
    assert code == 2
    assert re.search(r"no (NVIDIA )?GPU", words)


def test_engines_that_fit_reach_the_server_itself(gpu_image: str, repository: Path) -> None:
    # The stand-in has no TensorRT backend, and says so in Triton's words.
    code, words = start(gpu_image, repository, FAKE_GPUS=A10)
    assert code != 0
    assert REPAIR not in words
    assert "tensorrt" in words


def test_service_without_its_engines_says_so_at_each_of_its_restarts(
    gpu_image: str, tmp_path: Path
) -> None:
    models = engine.copy_repository(tmp_path / "models")
    env = {"FACEKIT_GPU_IMAGE": gpu_image, "FACEKIT_MODEL_REPOSITORY": str(models)}
    with engine.project(env, gpu=False) as project:
        project("up", "--detach", "triton-server")
        container = project.container("triton-server")
        engine.wait_until(lambda: engine.inspect(container)["RestartCount"] >= 2, "two restarts")
        assert engine.logs(container).count("cannot be served here") >= 2
        assert not engine.health(container) == "healthy"


@pytest.fixture(scope="module")
def compose(gpu_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The stock server's path, healthy, with the configurations that need no GPU."""
    folder = tmp_path_factory.mktemp("native")
    override = folder / "cpu-networks.yml"
    override.write_text('services: {triton-server: {command: ["--config-name", "cpu"]}}\n', "utf-8")
    env = {
        "FACEKIT_GPU_IMAGE": gpu_image,
        "FACEKIT_MODEL_REPOSITORY": str(engine.copy_repository(folder / "models")),
    }
    with engine.project(env, [override], gpu=False) as project:
        project("up", "--detach", "triton-server")
        project.wait_healthy("triton-server")
        yield project


def faces_found(compose: Compose, photo: np.ndarray) -> int:
    with Client(compose.grpc_url, timeout_s=20) as client:
        return len(client.detect(photo))


def test_stock_server_finds_the_face(compose: Compose, photo: np.ndarray) -> None:
    assert faces_found(compose, photo) == 1


def test_stock_server_runs_from_its_own_folder(compose: Compose) -> None:
    commands = [command for _, _, command in engine.processes(compose.container("triton-server"))]
    assert any(command.startswith("/opt/tritonserver/bin/tritonserver") for command in commands)


def test_stock_server_has_the_same_hardening(compose: Compose) -> None:
    found = engine.inspect(compose.container("triton-server"))
    assert found["Config"]["User"] == "10001:10001"
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]


def test_stock_server_mends_a_killed_backend_process(compose: Compose, photo: np.ndarray) -> None:
    container = compose.container("triton-server")
    said = engine.logs(container).count("ready again")
    backend = next(
        pid
        for pid, _, command in engine.processes(container)
        if "triton_python_backend_stub" in command
    )
    os.kill(backend, signal.SIGKILL)
    engine.wait_until(
        lambda: engine.logs(container).count("ready again") > said, "it is mended", MENDED_S
    )
    assert faces_found(compose, photo) == 1


def test_stock_server_killed_is_mended_with_no_process_left_behind(
    compose: Compose, photo: np.ndarray
) -> None:
    container = compose.container("triton-server")
    said = engine.logs(container).count("ready again")
    old = {pid: command for pid, _, command in engine.processes(container)}
    triton = [pid for pid, command in old.items() if command.startswith("/opt/tritonserver/bin/")]
    backends = [pid for pid, command in old.items() if "triton_python_backend_stub" in command]
    os.kill(triton[0], signal.SIGKILL)
    engine.wait_until(
        lambda: engine.logs(container).count("ready again") > said, "it is mended", MENDED_S
    )
    assert faces_found(compose, photo) == 1
    assert not {*triton, *backends} & {pid for pid, _, _ in engine.processes(container)}


def test_stock_server_has_no_zombie_process(compose: Compose) -> None:
    states = engine.processes(compose.container("triton-server"))
    assert not [command for _, state, command in states if state.startswith("Z")]


def test_stock_server_refuses_management(compose: Compose) -> None:
    url = f"http://127.0.0.1:{compose.http_port}/v2/repository/index"
    assert requests.post(url, json={}, timeout=10).status_code in (404, 405)


def test_stock_server_stops_with_exit_code_0(compose: Compose) -> None:
    container = compose.container("triton-server")
    compose("stop", "triton-server")
    assert engine.inspect(container)["State"]["ExitCode"] == 0


def test_image_holds_the_package_and_neither_models_nor_key(gpu_image: str) -> None:
    listing = ["docker", "run", "--rm", "--entrypoint", "find", gpu_image]
    found = engine.output_of([*listing, "/models", "/src", "-mindepth", "1", "-maxdepth", "1"])
    assert sorted(found.split()) == ["/src/README.md", "/src/facekit", "/src/pyproject.toml"]
    assert engine.KEY not in engine.docker("history", "--no-trunc", gpu_image)
    assert not engine.holds(gpu_image, engine.KEY)
