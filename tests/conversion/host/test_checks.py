"""What the host driver looks at before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import DockerException

from conversion.host import checks, gpu
from conversion.host.checks import HostError, State, check_engine, connect
from tests.conversion.host.conftest import BASE, IMAGE, Host
from tests.fakes.docker_engine import FakeEngine, api_error


def test_connect_without_a_socket_says_how_to_start_docker(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="not installed, or not started") as error:
        connect({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert "sudo systemctl start docker" in str(error.value)


def test_connect_to_a_socket_nobody_listens_on_says_so(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(HostError, match="not running: nothing listens"):
        connect({"DOCKER_HOST": f"unix://{path}"})


def test_connect_without_permission_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise DockerException("Error while fetching server API version") from PermissionError(13)

    monkeypatch.setattr("docker.from_env", refuse)
    with pytest.raises(HostError, match="sudo usermod -aG docker"):
        connect({"DOCKER_HOST": "tcp://engine:2375"})


def test_connect_to_nonsense_says_what_chooses_the_engine() -> None:
    with pytest.raises(HostError, match="DOCKER_HOST"):
        connect({"DOCKER_HOST": "nonsense://"})


def test_connection_is_patient_once_the_engine_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_env(**options: Any) -> SimpleNamespace:
        asked.append(options["timeout"])
        return SimpleNamespace(ping=lambda: True, api=SimpleNamespace(timeout=options["timeout"]))

    asked: list[int] = []
    monkeypatch.setattr("docker.from_env", from_env)
    client = connect({"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert asked[0] <= 20
    assert client.api.timeout >= 300


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        ({}, State.OK, "24.0.7 on linux amd64"),
        ({"ApiVersion": "1.39"}, State.FAILED, "older than 1.40"),
        ({"Os": "windows"}, State.FAILED, "the image is for Linux"),
    ],
)
def test_check_engine_tells_what_it_is(version: dict[str, str], state: State, words: str) -> None:
    found = check_engine(FakeEngine(version=version))
    assert (found.state, words in found.text) == (state, True), found


@pytest.mark.parametrize(
    ("info", "programs", "state", "words"),
    [
        ({"Runtimes": {"nvidia": {}}}, (), State.OK, "registered"),
        (
            {"Runtimes": {"runc": {}}},
            ("nvidia-ctk",),
            State.WARNING,
            "nvidia-ctk runtime configure",
        ),
        ({"Runtimes": {"runc": {}}}, (), State.FAILED, "install the NVIDIA Container Toolkit"),
        ({"DockerRootDir": "/var/snap/docker"}, (), State.FAILED, "sudo snap remove docker"),
    ],
)
def test_check_runtime_tells_whether_a_gpu_can_be_handed_out(
    info: dict[str, Any], programs: tuple[str, ...], state: State, words: str
) -> None:
    found = gpu.check_runtime(info, lambda name: name if name in programs else None)
    assert found.state is state
    assert words in str(found)


def test_check_disk_with_too_little_room_for_the_base_says_how_much(host: Host) -> None:
    images, files = checks.check_disk(FakeEngine(), host.settings(), "/", lambda _: 20_000_000_000)
    assert images.state is State.FAILED
    assert images.text == "20.0 GB free at /, and 27 GB are needed"
    assert files.state is State.OK


def test_check_disk_with_the_image_there_needs_none_for_it(host: Host) -> None:
    found = checks.check_disk(host.engine, host.settings(), "/", lambda _: 2_000_000_000)
    assert [each.state for each in found] == [State.OK, State.OK]


def test_check_disk_of_another_machine_says_that_it_cannot_look(host: Host) -> None:
    found = checks.check_disk(FakeEngine(), host.settings(), "/of/a/virtual/machine")
    assert found[0].state is State.WARNING


def test_check_folders_of_another_user_names_both_ways_out(host: Host) -> None:
    owner = host.models.stat()
    found = checks.check_folders(host.settings(FACEKIT_UID="4711", FACEKIT_GID="4711"))
    assert found.state is State.FAILED
    assert found.remedy == (
        f"sudo chown -R 4711:4711 {host.models}",
        f"or in .env: FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid}",
    )


def test_check_folders_without_a_model_says_so(host: Host) -> None:
    (host.models / "facenet" / "config.pbtxt").unlink()
    assert "contains no models" in checks.check_folders(host.settings()).text


@pytest.mark.parametrize(
    ("images", "words"),
    [([], "after nvcr.io/nvidia/tritonserver:24.04-py3 (about 8 GB) is fetched"), ([BASE], "in m")],
)
def test_check_image_that_is_missing_says_when_it_is_built(
    host: Host, images: list[str], words: str
) -> None:
    found = checks.check_image(FakeEngine(images), host.settings())
    assert found.state is State.TODO and words in found.text
    assert checks.check_image(FakeEngine([IMAGE]), host.settings()).state is State.OK


def test_check_looks_and_starts_nothing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.convert("--check") == 0
    said = capsys.readouterr().err
    for about in ("Docker", "NVIDIA runtime", "disk, images", "repository", "image", "GPU"):
        assert f"convert: ok    {about}" in said
    assert host.calls("run") == host.calls("build") == []


def test_check_without_the_image_builds_nothing(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.engine = FakeEngine()
    assert host.convert("--check") == 0
    assert host.calls("build") == [] and "convert: todo  image" in capsys.readouterr().err


def test_check_that_fails_shows_the_others_too_and_stops_the_run(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.engine = FakeEngine([IMAGE, BASE], info={"Runtimes": {}})
    assert host.convert("--check") == host.convert() == 2
    said = capsys.readouterr().err
    assert "convert: FAIL  NVIDIA runtime" in said
    assert "convert: ok    image" in said
    assert host.calls("run") == []


def test_gpu_that_does_not_work_stops_the_run(host: Host) -> None:
    host.engine = FakeEngine([IMAGE, BASE], machine={"gpus": []})
    assert host.convert() == 2 and host.calls("run") == []


def test_rootless_engine_gets_root_which_is_the_user_outside(host: Host) -> None:
    options = ["name=seccomp", "name=rootless"]
    host.engine = FakeEngine([IMAGE, BASE], info={"SecurityOptions": options}, state={})
    assert host.convert("plan") == 0
    environment = host.calls("run")[0]["env"]
    assert (environment["FACEKIT_UID"], environment["FACEKIT_GID"]) == ("0", "0")


def test_check_gpu_that_is_there_is_named(host: Host) -> None:
    found = gpu.check_gpu(FakeEngine(), host.settings())
    assert found.text == "NVIDIA A10 (8.6), TensorRT 8.6.3 in the image"


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"gpus": []}, "the container sees no GPU: CUDA lists none"),
        ({"gpus": [], "notes": ["error 803"]}, "the container sees no GPU: error 803"),
        ({"tensorrt": None}, "the image has no TensorRT"),
    ],
)
def test_check_gpu_that_does_not_work_says_why(
    host: Host, machine: dict[str, Any], words: str
) -> None:
    found = gpu.check_gpu(FakeEngine(machine=machine), host.settings())
    assert found.state is State.FAILED
    assert words in found.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            'could not select device driver "nvidia" with capabilities: [[gpu]]',
            "sudo nvidia-ctk runtime configure --runtime=docker",
        ),
        (
            "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1",
            "this machine has no NVIDIA driver",
        ),
        (
            "nvidia-container-cli: initialization error: nvml error: driver/library version "
            "mismatch",
            "sudo reboot",
        ),
        (
            "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.4",
            "the NVIDIA driver is too old",
        ),
        ("nvidia-container-cli: device error: 7: unknown device", "nvidia-smi -L"),
        ("write /x: no space left on device", "docker system df"),
        ("something new", "something new"),
    ],
)
def test_start_that_the_engine_refuses_is_explained(host: Host, said: str, words: str) -> None:
    found = gpu.check_gpu(FakeEngine(probe_error=api_error(said)), host.settings())
    assert found.state is State.FAILED
    assert words in str(found)
