"""The converter's container: what it is given, and that nothing of it stays."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conversion.cli import build_parser
from conversion.host.cli import COMMANDS, OPTIONS_WITH_VALUES, _parser, main
from conversion.host.job import Job, run_job, secret_file
from conversion.host.settings import Settings
from tests.conversion.host.setups import (
    KEY,
    mounted,
    ready,
    write_engine,
)
from tests.fakes.docker_engine import FakeContainer, api_error


def test_job_gets_the_key_as_a_file_alone(root: Path) -> None:
    seen: dict[str, str] = {}

    def work(options: dict[str, Any]) -> None:
        path = mounted(options)["/run/secrets/ngc_api_key"].removesuffix(":ro")
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


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--accept-eula", "fetch"], ["fetch", "--accept-eula"]),
        (["--weights", "open", "fetch", "facenet"], ["fetch", "--weights", "open", "facenet"]),
        (["--weights", "all", "facenet"], ["all", "--weights", "all", "facenet"]),
        (["--weights=open"], ["all", "--weights=open"]),
    ],
)
def test_command_after_options_is_found(root: Path, words: list[str], command: list[str]) -> None:
    engine = ready(root)
    assert main(words, environ={}, root=root, client=engine) == 0
    assert engine.created[0]["command"] == command


def test_options_with_values_are_all_known() -> None:
    subcommands = build_parser()._subparsers
    assert subcommands is not None
    choices = subcommands._group_actions[0].choices
    assert isinstance(choices, dict)
    assert set(choices) - set(COMMANDS) == {"deepstream"}  # It needs no container.
    actions = [action for name in COMMANDS for action in choices[name]._actions]
    takes = {flag for action in actions if action.nargs != 0 for flag in action.option_strings}
    assert takes - set(_parser()._option_string_actions) == set(OPTIONS_WITH_VALUES)


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
    assert mounted(created)["/host0"] == f"{tmp_path}/downloads:ro"


def test_folder_of_several_uses_is_mounted_for_each(root: Path) -> None:
    engine = ready(root)
    models = root / "model_repository"
    (root / "weights").mkdir()
    words = ["--from", str(root / "weights")]
    for name in ("a.yaml", "b.yaml"):
        (models / name).write_text("")
        words += ["--models", str(models / name)]
    assert main(words, environ={}, root=root, client=engine) == 0
    (created,) = engine.created
    assert mounted(created) == {
        "/models": str(models),
        "/weights": f"{root}/weights",
        "/host0": f"{root}/weights:ro",
        "/host1": f"{models}:ro",
        "/host2": f"{models}:ro",
    }
    assert created["command"][-4:] == ["--models", "/host1/a.yaml", "--models", "/host2/b.yaml"]


def test_file_of_networks_is_mounted_with_its_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "models.yaml").write_text("")
    engine = ready(root)
    words = ["plan", "--models", str(tmp_path / "mine" / "models.yaml")]
    assert main(words, environ={}, root=root, client=engine) == 0
    (created,) = engine.created
    assert created["command"] == ["plan", "--models", "/host0/models.yaml"]
    assert mounted(created)["/host0"] == f"{tmp_path}/mine:ro"


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


def test_output_of_the_job_names_folders_as_the_user_did(root: Path, settings: Settings) -> None:
    out = io.BytesIO()
    said = b"/host0/a.yaml:4: do it: scripts/convert all --from /host1 /host10\n"
    folders = {"/host0": root / "mine", "/host1": root / "a\\1b"}
    engine = ready(root, container=FakeContainer([(said, None)]))
    run_job(engine, settings, Job(["plan"], folders, gpu=False), out=out, err=io.BytesIO())
    assert out.getvalue().decode() == (
        f"{root}/mine/a.yaml:4: do it: scripts/convert all --from {root}/a\\1b /host10\n"
    )


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


@pytest.fixture
def mild() -> Iterator[list[int]]:
    """Signals that end a run, none of which ends the tests; which of them came is returned."""
    came: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in numbers}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_job_ended_by_a_signal_is_removed_and_its_key_too(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mild: list[int], number: int
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    seen: list[Path] = []

    def work(_: dict[str, Any]) -> None:
        seen.extend(tmp_path.glob("facekit-*/ngc_api_key"))
        os.kill(os.getpid(), number)

    engine = ready(root, container=FakeContainer(work=work))
    assert main(["fetch"], environ={"NGC_API_KEY": KEY}, root=root, client=engine) == 130
    assert len(seen) == 1 and not seen[0].exists()
    assert engine.container.calls[-2:] == ["stop", "remove"]
    os.kill(os.getpid(), number)
    assert mild == [number]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_job_ended_before_its_container_is_made_leaves_no_key(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mild: list[int], number: int
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    engine = ready(root)
    create = engine.containers.create

    def interrupted(**options: Any) -> Any:
        os.kill(os.getpid(), number)
        return create(**options)

    engine.containers.create = interrupted
    assert main(["fetch"], environ={"NGC_API_KEY": KEY}, root=root, client=engine) == 130
    assert engine.created == [] and not list(tmp_path.glob("facekit-*"))


def test_job_under_nohup_outlives_its_terminal(root: Path, mild: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    container = FakeContainer(work=lambda _: os.kill(os.getpid(), signal.SIGHUP))
    assert main(["fetch"], environ={}, root=root, client=ready(root, container=container)) == 0


def test_job_whose_terminal_is_gone_is_stopped_all_the_same(root: Path, settings: Settings) -> None:
    gone: Any = SimpleNamespace(isatty=lambda: False, write=_refuse, flush=_refuse)
    pieces: list[Any] = [KeyboardInterrupt()]
    engine = ready(root, container=FakeContainer(pieces))
    job = Job(["all"], {}, gpu=False)
    assert run_job(engine, settings, job, out=io.BytesIO(), err=gone) == 130
    assert engine.container.calls[-2:] == ["stop", "remove"]


def _refuse(*_: Any) -> None:
    raise OSError(5, "Input/output error")


def test_tool_that_used_up_the_memory_leaves_the_exit_code(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ready(root, container=FakeContainer(code=1, state={"OOMKilled": True}))
    assert main(["build"], environ={}, root=root, client=engine) == 1
    said = capsys.readouterr().err
    assert "used up its memory" not in said and "nothing was made" in said


@pytest.mark.parametrize(
    ("code", "state"), [(137, {"OOMKilled": True}), (137, {}), (143, {"OOMKilled": True})]
)
def test_job_that_is_killed_reports_what_it_made_before(
    root: Path, capsys: pytest.CaptureFixture[str], code: int, state: dict[str, bool]
) -> None:
    container = FakeContainer(
        code=code, state=state, work=lambda _: write_engine(root / "model_repository")
    )
    assert main([], environ={}, root=root, client=ready(root, container=container)) == 2
    said = capsys.readouterr().err
    assert "made  facenet: nvidia" in said
    assert ("used up its memory" in said) == (code == 137 and bool(state))
