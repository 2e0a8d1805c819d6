"""``docker-compose --profile cpu up -d triton-cpu``, as users start it, and what it survives."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from facekit import Client
from tests.docker import engine
from tests.docker.engine import KEY, Compose

SERVICE = "triton-cpu"
STUB = "triton_python_backend_stub"
MENDED_S = 15.0
OVERRIDE = Path(__file__).parent / "caller.yml"


@pytest.fixture(scope="module")
def started(
    cpu_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Compose, list[Any]]]:
    """The service, started for another one on its network, and its health checks until then."""
    env = {
        "FACEKIT_CPU_IMAGE": cpu_image,
        "FACEKIT_MODEL_REPOSITORY": str(
            engine.copy_repository(tmp_path_factory.mktemp("cpu") / "models")
        ),
        "NGC_API_KEY": KEY,
    }
    with engine.project(env, [OVERRIDE]) as project:
        project("--profile", "cpu", "up", "--detach", "caller")
        checks = engine.inspect(project.container(SERVICE))["State"]["Health"]["Log"]
        yield project, checks


@pytest.fixture(scope="module")
def compose(started: tuple[Compose, list[Any]]) -> Compose:
    """The service and the other one."""
    return started[0]


@pytest.fixture
def container(compose: Compose) -> str:
    """The server's container, healthy."""
    return compose.wait_healthy(SERVICE)


def faces_found(compose: Compose, photo: np.ndarray) -> int:
    with Client(compose.grpc_url, timeout_s=20) as client:
        return len(client.detect(photo))


def answers(compose: Compose, photo: np.ndarray) -> bool:
    """Whether a detection works now."""
    try:
        return faces_found(compose, photo) == 1
    except Exception:  # of any kind: the server is away, or a model is
        return False


def stubs(container: str) -> list[int]:
    return [pid for pid, _, command in engine.processes(container) if STUB in command]


def test_detection_from_this_machine_through_the_published_port_works(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    assert faces_found(compose, photo) == 1


def test_detection_from_a_container_of_another_service_works(
    compose: Compose, container: str, photo_file: Path
) -> None:
    caller = compose.container("caller")
    engine.docker("cp", str(photo_file), f"{caller}:/photo.jpg")
    command = ["facekit", "detect", "--url", f"{SERVICE}:8001", "--json", "-", "/photo.jpg"]
    found = json.loads(engine.docker("exec", caller, *command))  # one photo, one line
    assert len(found["faces"]) == 1


def test_another_service_that_waits_for_healthy_is_started_by_it(
    started: tuple[Compose, list[Any]],
) -> None:
    compose, checks = started
    caller = engine.inspect(compose.container("caller"))["State"]
    healthy = next(check["End"] for check in checks if check["ExitCode"] == 0)
    assert caller["Running"]
    assert engine.moment(caller["StartedAt"]) > engine.moment(healthy)


def test_health_check_is_a_real_inference_of_every_model(container: str) -> None:
    last = engine.inspect(container)["State"]["Health"]["Log"][-1]["Output"]
    assert re.findall(r"^(\w+) +ok", last, re.MULTILINE) == [
        "faces",
        "facenet_ensemble",
        "fpenet_ensemble",
        "landmarks",
        "facenet_resized",
        "facemask_ensemble",
    ]


def test_metrics_page_counts_the_requests(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    def count() -> int:
        page = requests.get(f"http://127.0.0.1:{compose.metrics_port}/metrics", timeout=10).text
        found = re.search(r'nv_inference_request_success\{model="faces",version="1"\} (\d+)', page)
        assert found is not None
        return int(found[1])

    before = count()
    faces_found(compose, photo)
    assert count() > before


@pytest.mark.parametrize(
    "name",
    [
        "nv_inference_request_success",
        "nv_inference_request_duration_us",
        "nv_inference_queue_duration_us",
        "nv_inference_pending_request_count",
        "nv_inference_count",
        "nv_inference_exec_count",
        'nv_inference_request_failure{model="faces",reason="REJECTED"',
        'nv_inference_request_failure{model="faces",reason="CANCELED"',
        'nv_inference_request_failure{model="faces",reason="BACKEND"',
        'nv_inference_request_failure{model="faces",reason="OTHER"',
    ],
)
def test_metrics_page_has_what_the_documented_queries_ask_for(
    compose: Compose, container: str, name: str
) -> None:
    page = requests.get(f"http://127.0.0.1:{compose.metrics_port}/metrics", timeout=10).text
    lines = [line for line in page.splitlines() if line.startswith(name)]
    assert any('model="faces"' in line for line in lines)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/faces/unload"),
        ("POST", "/v2/repository/models/faces/load"),
        ("POST", "/v2/systemsharedmemory/region/x/register"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("POST", "/v2/trace/setting"),
        ("POST", "/v2/logging"),
    ],
)
def test_management_over_http_does_not_exist(
    compose: Compose, container: str, method: str, path: str
) -> None:
    url = f"http://127.0.0.1:{compose.http_port}{path}"
    assert requests.request(method, url, json={}, timeout=10).status_code in (404, 405)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_model_repository_index", {}),
        ("load_model", {"model_name": "faces"}),
        ("unload_model", {"model_name": "faces"}),
        ("get_system_shared_memory_status", {}),
        ("get_cuda_shared_memory_status", {}),
        ("get_trace_settings", {}),
        ("update_log_settings", {"settings": {"log_info": False}}),
    ],
)
def test_management_over_grpc_is_refused(
    compose: Compose, container: str, call: str, arguments: dict[str, object]
) -> None:
    with triton.InferenceServerClient(compose.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="(?i)restricted|access"):
            getattr(client, call)(**arguments)


@pytest.mark.parametrize("port", ["http_port", "metrics_port"])
def test_a_body_of_very_many_chunks_is_refused_and_the_server_lives(
    compose: Compose, container: str, port: str
) -> None:
    """The request that ends Triton's own HTTP front ends (CVE-2025-23310)."""
    before = [pid for pid, _, command in engine.processes(container) if "tritonserver" in command]
    with socket.create_connection(("127.0.0.1", getattr(compose, port)), timeout=30) as caller:
        head = (
            b"POST /v2/models/faces/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(OSError):  # it may close before it has read all of them
            caller.sendall(head + b"1\r\na\r\n" * 700_000 + b"0\r\n\r\n")
            assert caller.recv(12).startswith(b"HTTP/1.1 4")
    after = [pid for pid, _, command in engine.processes(container) if "tritonserver" in command]
    assert before == after != []
    live = requests.get(f"http://127.0.0.1:{compose.http_port}/v2/health/live", timeout=10)
    assert live.status_code == 200


def test_container_has_no_zombie_process(container: str) -> None:
    states = engine.processes(container)
    assert len(states) > 10
    assert not [command for _, state, command in states if state.startswith("Z")]


def test_container_runs_as_its_user_with_a_read_only_root_and_no_capability(
    container: str,
) -> None:
    found = engine.inspect(container)
    assert found["Config"]["User"] == "10001:10001"
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


def test_container_processes_have_no_capability_and_another_user_than_root(container: str) -> None:
    for pid, _, command in engine.processes(container):
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE), command
        assert re.search(r"^Uid:\s*10001\s", status, re.MULTILINE), command
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE), command


def test_container_is_limited_in_memory_processes_and_logs(container: str) -> None:
    host = engine.inspect(container)["HostConfig"]
    assert host["Memory"] == 6 * 2**30
    assert host["PidsLimit"] == 8192
    assert host["ShmSize"] == 3 * 2**30
    assert host["LogConfig"]["Type"] == "json-file"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_container_listens_on_this_machine_alone(compose: Compose, container: str) -> None:
    bound = engine.inspect(container)["NetworkSettings"]["Ports"]
    assert {
        port: [(entry["HostIp"], int(entry["HostPort"])) for entry in entries]
        for port, entries in bound.items()
    } == {
        "8000/tcp": [("127.0.0.1", compose.http_port)],
        "8001/tcp": [("127.0.0.1", compose.grpc_port)],
        "8002/tcp": [("127.0.0.1", compose.metrics_port)],
    }


def test_container_can_not_write_models_or_root(container: str) -> None:
    for path in ("/models/x", "/x", "/opt/facekit/x"):
        done = engine.run(["docker", "exec", "--user", "0", container, "touch", path])
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr


def test_log_of_triton_is_the_containers_log(container: str) -> None:
    assert "Started GRPCInferenceService" in engine.logs(container)


def test_key_is_in_no_layer_log_environment_or_process(container: str, cpu_image: str) -> None:
    assert KEY not in engine.docker("history", "--no-trunc", cpu_image)
    assert not engine.holds(cpu_image, KEY)
    assert KEY not in json.dumps(engine.inspect(container))
    assert KEY not in engine.logs(container)
    for pid, _, command in engine.processes(container):
        assert KEY not in command
        assert KEY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_image_holds_neither_models_nor_anything_of_the_checkout_but_the_package(
    cpu_image: str,
) -> None:
    listing = ["docker", "run", "--rm", "--entrypoint", "find", cpu_image]
    found = engine.output_of([*listing, "/models", "/src", "-mindepth", "1", "-maxdepth", "1"])
    assert sorted(found.split()) == ["/src/README.md", "/src/facekit", "/src/pyproject.toml"]


def test_backend_process_killed_is_mended_in_the_same_container(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    started = engine.inspect(container)["State"]["StartedAt"]
    said = engine.logs(container).count("ready again")
    old = stubs(container)
    os.kill(old[0], signal.SIGKILL)
    engine.wait_until(
        lambda: engine.logs(container).count("ready again") > said, "it is mended", MENDED_S
    )
    assert answers(compose, photo)
    assert not set(old) & set(stubs(container))
    assert engine.inspect(container)["State"]["StartedAt"] == started


def test_triton_itself_killed_is_mended_with_no_process_left_behind(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    said = engine.logs(container).count("ready again")
    old = [pid for pid, _, command in engine.processes(container) if "/tritonserver " in command]
    left = stubs(container)
    assert len(old) == 1
    os.kill(old[0], signal.SIGKILL)
    engine.wait_until(
        lambda: engine.logs(container).count("ready again") > said, "it is mended", MENDED_S
    )
    assert answers(compose, photo)
    assert not {*old, *left} & {pid for pid, _, _ in engine.processes(container)}


def test_main_process_killed_comes_back_by_the_restart_policy(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    before = engine.inspect(container)
    (supervisor,) = [
        pid
        for pid, _, command in engine.processes(container)
        if "facekit serve" in command and "docker-init" not in command
    ]
    os.kill(supervisor, signal.SIGKILL)
    engine.wait_until(
        lambda: engine.inspect(container)["RestartCount"] > before["RestartCount"], "a restart"
    )
    compose.wait_healthy(SERVICE)
    assert answers(compose, photo)
    assert engine.inspect(container)["State"]["Pid"] != before["State"]["Pid"]


def test_stop_ends_with_exit_code_0_within_the_grace(
    compose: Compose, container: str, photo: np.ndarray
) -> None:
    started = time.monotonic()
    compose("--profile", "cpu", "stop", SERVICE)
    elapsed_s = time.monotonic() - started
    state = engine.inspect(container)["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    grace_s = engine.inspect(container)["Config"]["StopTimeout"]
    assert elapsed_s < grace_s
    compose("--profile", "cpu", "start", SERVICE)
    compose.wait_healthy(SERVICE)
    assert answers(compose, photo)


def test_stop_right_after_the_start_is_not_lost(compose: Compose) -> None:
    container = compose.container(SERVICE)
    codes = []
    for moment_s in (0.0, 0.1, 0.2, 0.5, 2.0):
        engine.docker("stop", container)
        engine.docker("start", container)
        time.sleep(moment_s)
        engine.docker("stop", "--time", "60", container)
        codes.append(engine.inspect(container)["State"]["ExitCode"])
    engine.docker("start", container)
    # 143 is the signal before Python listens, 137 that it was lost.
    assert set(codes) <= {0, 143}, codes
