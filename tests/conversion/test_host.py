"""``scripts/convert``: settings, checks, image, job and report, against a stand-in for Docker."""

from __future__ import annotations

import io
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.errors import DockerException

from conversion.host import checks, gpu
from conversion.host.cli import main
from conversion.host.engine import check_engine, connect
from conversion.host.findings import HostError, State
from conversion.host.images import sources_digest
from conversion.host.job import Job, container_options, run_job, secret_file
from conversion.host.pulling import PullProgress
from conversion.host.report import look, report
from conversion.host.settings import Settings, load_settings, read_env_file
from facekit.engines.manifest import Batch, EngineManifest, engine_path, manifest_path
from facekit.errors import ConfigError
from tests.fakes.docker_engine import FakeContainer, FakeEngine, api_error

ROOT = Path(__file__).parents[2]
KEY = "nvapi-key-that-must-stay-secret"
IMAGE = "facekit/converter:0.1.0"
BASE = "nvcr.io/nvidia/tritonserver:24.04-py3"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What of a clone the host's part reads."""
    for name in ("Dockerfile.converter", "pyproject.toml", "LICENSE"):
        (tmp_path / name).write_text(name)
    for folder in ("facekit", "conversion"):
        (tmp_path / folder / "__pycache__").mkdir(parents=True)
        (tmp_path / folder / "code.py").write_text("pass\n")
        (tmp_path / folder / "__pycache__" / "code.pyc").write_text("")
    model = tmp_path / "model_repository" / "facenet"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "facenet"')
    return tmp_path


@pytest.fixture
def settings(root: Path) -> Settings:
    return load_settings(root, {})


def ready(root: Path, **options: Any) -> FakeEngine:
    """An engine that has the base, and the image of these sources."""
    label = {"facekit.sources": sources_digest(load_settings(root, {}))}
    return FakeEngine({BASE: {}, IMAGE: label}, **options)


def manifest(**changes: Any) -> EngineManifest:
    values: dict[str, Any] = {
        "model": "facenet",
        "weights": "nvidia",
        "config": "",
        "source": "model.etlt",
        "source_sha256": "00",
        "source_format": "uff-etlt",
        "tensorrt": "8.6.3",
        "gpu": "NVIDIA A10",
        "compute_capability": "8.6",
        "precision": "int8",
        "batch": Batch(1, 8, 32),
        "outputs": {},
        "engine_sha256": "00",
        "engine_bytes": 12_300_000,
        "created": "2026-01-01T00:00:00Z",
        "command": (),
    }
    return EngineManifest(**{**values, **changes})


def write_engine(repository: Path, **changes: Any) -> None:
    engine_path(repository, "facenet").write_bytes(b"engine")
    manifest_path(repository, "facenet").write_text(manifest(**changes).to_json())


# Settings.


def test_settings_without_any_are_those_of_the_compose_file(root: Path, settings: Settings) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    converter = compose["services"]["converter"]
    assert converter["image"] == f"${{FACEKIT_CONVERTER_IMAGE:-{settings.image}}}"
    assert converter["build"]["args"] == {
        "TRITON_IMAGE": f"${{TRITON_IMAGE:-{settings.base}}}",
        "DALI_VERSION": f"${{DALI_VERSION:-{settings.dali}}}",
    }
    assert converter["mem_limit"] == f"${{FACEKIT_CONVERTER_MEMORY:-{settings.memory}}}"


def test_container_is_as_hardened_as_the_compose_file_has_it(settings: Settings) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    converter = compose["services"]["converter"]
    options = container_options(settings, Job(["all"], {}, gpu=True), None, terminal=False)
    for name in ("read_only", "cap_drop", "security_opt", "shm_size", "pids_limit"):
        assert options[name] == converter[name], name
    assert [f"{place}:{how}" for place, how in options["tmpfs"].items()] == converter["tmpfs"]


def test_dockerfile_defaults_are_those_of_the_settings(settings: Settings) -> None:
    lines = (ROOT / "Dockerfile.converter").read_text().splitlines()
    assert f"ARG TRITON_IMAGE={settings.base}" in lines
    assert f"ARG DALI_VERSION={settings.dali}" in lines


def test_env_file_with_comments_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# a comment\n\nA=1\nB = 'two words'\nC=three # a comment\nD=a#b\n")
    assert read_env_file(path) == {"A": "1", "B": "two words", "C": "three", "D": "a#b"}


def test_env_file_with_a_damaged_line_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{KEY}\n")
    with pytest.raises(ConfigError, match=r"\.env:2: expected NAME=VALUE") as refused:
        read_env_file(path)
    assert KEY not in str(refused.value)


def test_settings_of_the_environment_go_before_the_env_file(root: Path) -> None:
    (root / ".env").write_text("FACEKIT_GPU=1\nFACEKIT_UID=7\n")
    settings = load_settings(root, {"FACEKIT_GPU": "2"})
    assert (settings.gpu, settings.user.split(":")[0]) == ("2", "7")


def test_user_left_out_is_the_owner_of_the_repository(root: Path, settings: Settings) -> None:
    owner = (root / "model_repository").stat()
    assert settings.user == f"{owner.st_uid}:{owner.st_gid}"


def test_user_that_is_no_number_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="FACEKIT_UID: expected a number such as 1000, got 'me'"):
        load_settings(root, {"FACEKIT_UID": "me"})


def test_key_file_that_is_missing_is_named(root: Path) -> None:
    with pytest.raises(ConfigError, match="NGC_API_KEY_FILE: .*nothing can't be read"):
        load_settings(root, {"NGC_API_KEY_FILE": "nothing"})


def test_key_is_not_shown_with_the_settings(root: Path) -> None:
    settings = load_settings(root, {"NGC_API_KEY": KEY})
    assert settings.key == KEY
    assert KEY not in repr(settings)


# The engine.


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
        connect({"DOCKER_HOST": "unix:///var/run/docker.sock"})


def test_connect_to_nonsense_says_what_chooses_the_engine() -> None:
    with pytest.raises(HostError, match="DOCKER_HOST"):
        connect({"DOCKER_HOST": "nonsense://"})


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        ({}, State.OK, "24.0.7 on linux amd64"),
        ({"ApiVersion": "1.39"}, State.FAILED, "older than 1.40"),
        ({"Os": "windows"}, State.FAILED, "Linux containers"),
    ],
)
def test_check_engine_tells_what_it_is(version: dict[str, str], state: State, words: str) -> None:
    found = check_engine(FakeEngine(version=version))
    assert (found.state, words in found.text) == (state, True), found


# What a conversion needs of the machine.


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
    assert words in "\n".join(found.lines())


def test_check_disk_with_too_little_room_for_the_base_says_how_much(settings: Settings) -> None:
    info = {"DockerRootDir": "/"}
    images, files = checks.check_disk(FakeEngine(), settings, info, lambda _: 20_000_000_000)
    assert images.state is State.FAILED
    assert images.text == "20.0 GB free at /, and 27 GB are needed"
    assert files.state is State.OK


def test_check_disk_with_the_image_there_needs_none_for_it(root: Path, settings: Settings) -> None:
    found = checks.check_disk(
        ready(root), settings, {"DockerRootDir": "/"}, lambda _: 2_000_000_000
    )
    assert [each.state for each in found] == [State.OK, State.OK]


def test_check_disk_of_another_machine_says_that_it_can_not_look(settings: Settings) -> None:
    info = {"DockerRootDir": "/of/a/virtual/machine"}
    assert checks.check_disk(FakeEngine(), settings, info)[0].state is State.WARNING


def test_check_folders_of_another_user_names_both_ways_out(root: Path) -> None:
    owner = (root / "model_repository").stat()
    settings = load_settings(root, {"FACEKIT_UID": "4711", "FACEKIT_GID": "4711"})
    (found,) = checks.check_folders(settings)
    assert found.state is State.FAILED
    assert found.remedy == (
        f"sudo chown -R 4711:4711 {settings.repository}",
        f"or in .env: FACEKIT_UID={owner.st_uid} and FACEKIT_GID={owner.st_gid}",
    )


def test_check_folders_without_a_model_says_so(root: Path) -> None:
    settings = load_settings(root, {}, repository=root / "facekit")
    (found,) = checks.check_folders(settings)
    assert "holds no model" in found.text


@pytest.mark.parametrize(
    ("labels", "state", "words"),
    [
        (None, State.TODO, "is not there"),
        ({}, State.TODO, "not built by this command"),
        ({"facekit.sources": "old"}, State.TODO, "built from other sources"),
    ],
)
def test_check_image_that_does_not_fit_is_built_again(
    settings: Settings, labels: dict[str, str] | None, state: State, words: str
) -> None:
    engine = FakeEngine({} if labels is None else {IMAGE: labels})
    found = checks.check_image(engine, settings)
    assert (found.state, words in found.text) == (state, True), found


def test_check_image_of_these_sources_is_good(root: Path, settings: Settings) -> None:
    assert checks.check_image(ready(root), settings).state is State.OK


def test_sources_digest_follows_an_edited_file_and_the_base(root: Path, settings: Settings) -> None:
    before = sources_digest(settings)
    (root / "facekit" / "__pycache__" / "other.pyc").write_text("")
    assert sources_digest(settings) == before
    (root / "conversion" / "code.py").write_text("pass  # edited\n")
    edited = sources_digest(settings)
    other_base = sources_digest(load_settings(root, {"TRITON_IMAGE": "another:1"}))
    assert len({before, edited, other_base}) == 3


def test_check_gpu_that_is_there_is_named(settings: Settings) -> None:
    found = gpu.check_gpu(FakeEngine(), settings)
    assert found.text == "NVIDIA A10 (8.6), TensorRT 8.6.3 in the image"


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"gpus": []}, "the container sees no GPU: CUDA shows it none"),
        ({"gpus": [], "notes": ["error 803"]}, "the container sees no GPU: error 803"),
        ({"tensorrt": None}, "the image has no TensorRT"),
    ],
)
def test_check_gpu_that_does_not_work_says_why(
    settings: Settings, machine: dict[str, Any], words: str
) -> None:
    found = gpu.check_gpu(FakeEngine(machine=machine), settings)
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
def test_start_that_the_engine_refuses_is_explained(
    settings: Settings, said: str, words: str
) -> None:
    found = gpu.check_gpu(FakeEngine(probe_error=api_error(said)), settings)
    assert found.state is State.FAILED
    assert words in "\n".join(found.lines())


# The image.


def test_image_is_built_from_its_files_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / ".env").write_text(f"NGC_API_KEY={KEY}\n")
    engine = FakeEngine({BASE: {}})
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    (built,) = engine.built
    with tarfile.open(fileobj=io.BytesIO(built["fileobj"].getvalue())) as context:
        assert sorted(context.getnames()) == [
            "Dockerfile.converter",
            "LICENSE",
            "conversion/code.py",
            "facekit/code.py",
            "pyproject.toml",
        ]
    assert KEY not in str(built["buildargs"])
    assert "Step 1/2 : FROM base" in capsys.readouterr().err


def test_base_that_is_missing_is_fetched_first(root: Path) -> None:
    engine = FakeEngine()
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert engine.pulled == [BASE]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("unauthorized: authentication required", "docker login nvcr.io"),
        ("manifest unknown", "conversion/releases.yaml"),
        ("no space left on device", "docker system df"),
        ("connection reset", "docker pull nvcr.io/nvidia/tritonserver:24.04-py3"),
    ],
)
def test_base_that_can_not_be_fetched_is_explained(
    root: Path, capsys: pytest.CaptureFixture[str], said: str, words: str
) -> None:
    engine = FakeEngine(pull_events=[{"error": said}])
    assert main(["plan"], environ={}, root=root, client=engine) == 2
    assert words in capsys.readouterr().err


def test_build_that_fails_shows_the_last_lines(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [{"stream": "ERROR: No matching distribution\n"}, {"error": "returned non-zero: 1"}]
    engine = FakeEngine({BASE: {}}, build_events=events)
    assert main(["plan"], environ={}, root=root, client=engine) == 2
    said = capsys.readouterr().err
    assert "building it failed: returned non-zero: 1" in said
    assert "| ERROR: No matching distribution" in said
    assert engine.created == []


def test_pull_progress_adds_up_the_layers() -> None:
    now = iter([0.0, 1.0, 11.0, 12.0])
    said: list[str] = []
    progress = PullProgress(said.append, lambda: next(now))
    detail = {"current": 1_000_000_000, "total": 2_000_000_000}
    progress.update({"id": "a", "status": "Downloading", "progressDetail": detail})
    progress.update({"id": "b", "status": "Downloading", "progressDetail": detail})
    progress.update({"id": "a", "status": "Pull complete"})
    assert said == ["  2.0 of 4.0 GB fetched, 181.8 MB/s, 0 layers unpacked"]


# The job.


def test_job_gets_the_key_as_a_file_alone(root: Path) -> None:
    seen: dict[str, str] = {}

    def work(options: dict[str, Any]) -> None:
        (path,) = [
            host
            for host, place in options["volumes"].items()
            if place["bind"] == "/run/secrets/ngc_api_key"
        ]
        seen["key"] = Path(path).read_text()
        seen["folder"] = oct(Path(path).parent.stat().st_mode & 0o777)
        seen["path"] = path

    engine = ready(root, container=FakeContainer(work=work))
    assert main(["fetch"], environ={"NGC_API_KEY": KEY}, root=root, client=engine) == 0
    assert (seen["key"], seen["folder"]) == (KEY, "0o700")
    assert KEY not in str(engine.created)
    assert engine.created[0]["environment"]["NGC_API_KEY_FILE"] == "/run/secrets/ngc_api_key"
    assert not Path(seen["path"]).exists()


def test_secret_file_of_a_failed_block_is_gone() -> None:
    with pytest.raises(RuntimeError), secret_file(KEY) as path:
        assert path is not None
        raise RuntimeError
    assert not path.parent.exists()


def test_job_without_a_command_does_all_and_gets_the_gpu(root: Path) -> None:
    engine = ready(root)
    assert main(["--weights", "open"], environ={}, root=root, client=engine) == 0
    (created,) = engine.created
    assert created["command"] == ["all", "--weights", "open"]
    (request,) = created["device_requests"]
    assert request["DeviceIDs"] == ["0"]


def test_job_without_a_gpu_asks_for_none(root: Path) -> None:
    engine = ready(root, info={"Runtimes": {}})
    words = ["--gpu", "none", "serialize", "--device", "cpu"]
    assert main(words, environ={}, root=root, client=engine) == 0
    assert engine.created[0]["device_requests"] == []
    assert engine.probed == []


def test_folder_of_downloads_is_mounted_where_the_job_finds_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    engine = ready(root)
    words = ["fetch", "--from", str(tmp_path / "downloads")]
    assert main(words, environ={}, root=root, client=engine) == 0
    (created,) = engine.created
    assert created["command"] == ["fetch", "--from", "/host0"]
    assert created["volumes"][str(tmp_path / "downloads")] == {"bind": "/host0", "mode": "ro"}


def test_file_of_networks_is_mounted_with_its_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "models.yaml").write_text("")
    engine = ready(root)
    words = ["plan", "--models", str(tmp_path / "mine" / "models.yaml")]
    assert main(words, environ={}, root=root, client=engine) == 0
    (created,) = engine.created
    assert created["command"] == ["plan", "--models", "/host0/models.yaml"]
    assert created["volumes"][str(tmp_path / "mine")] == {"bind": "/host0", "mode": "ro"}


def test_folder_that_does_not_exist_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", "/nowhere"], environ={}, root=root, client=ready(root)) == 2
    assert "--from: /nowhere does not exist" in capsys.readouterr().err


def test_output_of_the_job_goes_to_its_streams(root: Path, settings: Settings) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    engine = ready(root, container=FakeContainer([(b"a", None), (None, b"b"), (b"c", b"d")]))
    assert run_job(engine, settings, Job(["plan"], {}, gpu=False), out=out, err=err) == 0
    assert (out.getvalue(), err.getvalue()) == (b"ac", b"bd")


@pytest.mark.parametrize("code", [0, 1, 2])
def test_exit_code_of_the_job_is_handed_on(root: Path, code: int) -> None:
    engine = ready(root, container=FakeContainer(code=code))
    assert main(["plan"], environ={}, root=root, client=engine) == code
    assert engine.container.calls == ["attach", "start", "remove"]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (FakeContainer(code=137, state={"OOMKilled": True}), "used up its memory (16g)"),
        (FakeContainer(code=137), "it was killed"),
        (FakeContainer(start_error=api_error("no space left on device")), "docker system df"),
    ],
)
def test_job_that_ends_badly_is_explained_and_removed(
    root: Path, capsys: pytest.CaptureFixture[str], container: FakeContainer, words: str
) -> None:
    engine = ready(root, container=container)
    assert main(["plan"], environ={}, root=root, client=engine) == 2
    assert words in capsys.readouterr().err
    assert container.calls[-1] == "remove"


def test_interrupted_job_is_stopped_and_removed(root: Path, settings: Settings) -> None:
    pieces: list[Any] = [(b"a", None), KeyboardInterrupt()]
    engine = ready(root, container=FakeContainer(pieces))
    out, err = io.BytesIO(), io.BytesIO()
    assert run_job(engine, settings, Job(["all"], {}, gpu=False), out=out, err=err) == 130
    assert engine.container.calls == ["attach", "start", "stop", "remove"]


def test_rootless_engine_gets_root_which_is_the_user_outside(root: Path) -> None:
    engine = ready(root, info={"SecurityOptions": ["name=seccomp", "name=rootless"]})
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert engine.created[0]["user"] == "0:0"


# The whole command.


def test_check_looks_and_starts_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ready(root)
    assert main(["--check"], environ={}, root=root, client=engine) == 0
    said = capsys.readouterr().err
    for about in ("Docker", "NVIDIA runtime", "disk, images", "repository", "image", "GPU"):
        assert f"convert: ok    {about}" in said
    assert engine.created == []


def test_check_without_the_image_builds_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine()
    assert main(["--check"], environ={}, root=root, client=engine) == 0
    assert (engine.built, engine.pulled) == ([], [])
    assert "convert: todo  image" in capsys.readouterr().err


def test_check_that_fails_shows_the_others_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ready(root, info={"Runtimes": {}})
    assert main(["--check"], environ={}, root=root, client=engine) == 2
    said = capsys.readouterr().err
    assert "convert: FAIL  NVIDIA runtime" in said
    assert "convert: ok    image" in said


def test_converter_at_work_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = ready(root, running=("busy_bell",))
    assert main(["plan"], environ={}, root=root, client=engine) == 0
    assert "docker logs --follow busy_bell" in capsys.readouterr().err


def test_run_that_makes_an_engine_reports_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = root / "model_repository"
    container = FakeContainer(work=lambda _: write_engine(repository))
    assert main([], environ={}, root=root, client=ready(root, container=container)) == 0
    said = capsys.readouterr().err
    assert (
        "made  facenet: nvidia, int8, batches of 1 to 32, TensorRT 8.6.3, NVIDIA A10, 12.3 MB"
        in said
    )
    assert "next: docker compose up triton-server" in said


def test_report_of_a_run_that_changed_nothing_says_kept(root: Path) -> None:
    repository = root / "model_repository"
    write_engine(repository)
    made = look(repository)
    (line,) = report(repository, made, made)
    assert line.startswith("kept  facenet: nvidia, int8")


def test_report_names_dali_files_that_were_written(root: Path) -> None:
    repository = root / "model_repository"
    before = look(repository)
    path = repository / "facenet" / "1" / "gray.gpu.dali"
    path.write_bytes(b"")
    assert report(repository, before, look(repository)) == [f"made  {path}"]


def test_help_needs_no_engine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], environ={}, root=root) == 0
    assert "scripts/convert --check" in capsys.readouterr().out
