"""``scripts/convert`` as a whole: what Compose is asked for, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion.cli import build_parser
from conversion.host import cli
from conversion.host.cli import COMMANDS, OPTIONS_WITH_VALUES, _parser, main
from conversion.host.compose import Compose, secret_file
from facekit.errors import ConfigError
from tests.conversion.host.conftest import BASE, COMPOSE, IMAGE, KEY, Host
from tests.fakes.docker_engine import FakeEngine

Capture = pytest.CaptureFixture[str]


def test_run_without_a_command_does_all_with_the_gpu(host: Host, capsys: Capture) -> None:
    assert host.convert("--weights", "open") == 0
    assert host.ran() == ["converter", "all", "--weights", "open"]
    assert host.calls("build")[0]["arguments"] == ["converter"]
    assert "next: docker compose up triton-server" in capsys.readouterr().err
    assert host.engine.calls == ["remove"]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--accept-eula", "fetch"], ["fetch", "--accept-eula"]),
        (["--weights", "open", "fetch", "facenet"], ["fetch", "--weights", "open", "facenet"]),
        (["--weights", "all", "facenet"], ["all", "--weights", "all", "facenet"]),
        (["--weights=open"], ["all", "--weights=open"]),
    ],
)
def test_command_after_options_is_found(host: Host, words: list[str], command: list[str]) -> None:
    assert host.convert(*words) == 0
    assert host.ran()[1:] == command


def test_options_with_values_are_all_known() -> None:
    subcommands = build_parser()._subparsers
    assert subcommands is not None
    choices = subcommands._group_actions[0].choices
    assert isinstance(choices, dict)
    assert set(choices) - set(COMMANDS) == {"deepstream"}  # It needs no container.
    actions = [action for name in COMMANDS for action in choices[name]._actions]
    takes = {flag for action in actions if action.nargs != 0 for flag in action.option_strings}
    assert takes - set(_parser()._option_string_actions) == set(OPTIONS_WITH_VALUES)


@pytest.mark.parametrize(
    ("words", "runtimes", "service"),
    [
        (["--gpu", "none", "serialize"], {}, "converter-cpu"),
        (["fetch"], {"nvidia": {}}, "converter-cpu"),
        (["plan"], {"nvidia": {}}, "converter"),
        (["plan"], {}, "converter-cpu"),
    ],
)
def test_work_that_needs_no_gpu_asks_for_none(
    host: Host, words: list[str], runtimes: dict[str, Any], service: str
) -> None:
    host.engine = FakeEngine([IMAGE, BASE], info={"Runtimes": runtimes}, state={})
    assert host.convert(*words) == 0
    assert host.ran()[0] == service and host.engine.probed == []


def test_gpu_that_is_chosen_is_checked_and_given(host: Host) -> None:
    assert host.convert("--gpu", "1", "build", FACEKIT_GPU="0") == 0
    assert host.engine.probed[0]["device_requests"][0]["DeviceIDs"] == ["1"]
    assert host.calls("run")[0]["env"]["FACEKIT_GPU"] == "1"


def test_folders_and_files_are_mounted_where_the_converter_finds_them(host: Host) -> None:
    downloads, own = host.root / "downloads", host.root / "own"
    for folder in (downloads, own):
        folder.mkdir()
    for name in ("a.yaml", "b.yaml"):
        (own / name).touch()
    models = ("--models", str(own / "a.yaml"), "--models", str(own / "b.yaml"))
    assert host.convert("fetch", "--from", str(downloads), *models) == 0
    assert host.ran() == [
        *("--volume", f"{downloads}:/host{downloads}:ro", "--volume", f"{own}:/host{own}:ro"),
        *("converter-cpu", "fetch", "--from", f"/host{downloads}"),
        *("--models", f"/host{own}/a.yaml", "--models", f"/host{own}/b.yaml"),
    ]


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", "does not exist"), ("a:b", "a path with a colon")]
)
def test_folder_that_cannot_be_mounted_is_named(
    host: Host, capsys: Capture, name: str, words: str
) -> None:
    (host.root / "a:b").mkdir()
    assert host.convert("--from", str(host.root / name)) == 2
    assert words in capsys.readouterr().err and host.calls("run") == []


def test_repository_and_weights_of_options_win(host: Host) -> None:
    other = host.models.rename(host.root / "other")
    options = ("--repository", str(other), "--weights-dir", str(host.root / "kept"))
    assert host.convert("plan", *options, FACEKIT_WEIGHTS_DIR="/nowhere") == 0
    environment = host.calls("run")[0]["env"]
    assert environment["FACEKIT_MODEL_REPOSITORY"] == str(other)
    # The engine would make a missing folder as root's own.
    assert (host.root / "kept").is_dir()


def test_settings_are_those_of_compose(host: Host) -> None:
    owner = host.models.stat()
    settings = host.settings()
    assert (settings.image, settings.base, settings.gpu) == (IMAGE, BASE, "0")
    assert settings.repository == host.models
    assert settings.user == f"{owner.st_uid}:{owner.st_gid}"
    (host.root / ".env").write_text("FACEKIT_GPU=1\nFACEKIT_UID=7\nTRITON_IMAGE=my/own:1\n")
    settings = host.settings(FACEKIT_GPU="2")
    assert (settings.gpu, settings.user.split(":")[0], settings.base) == ("2", "7", "my/own:1")
    with pytest.raises(ConfigError, match="expected numbers such as 1000, got me:"):
        host.settings(FACEKIT_UID="me")


def test_compose_that_cannot_read_its_file_is_told(host: Host, capsys: Capture) -> None:
    command = ["sh", "-c", "echo 'line 3: unexpected' >&2; exit 1"]
    with pytest.raises(ConfigError, match=r"docker-compose.yml or \.env: line 3: unexpected"):
        Compose(host.root, {}, command).settings()


def test_machine_without_compose_says_where_it_is(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(host.root))
    with pytest.raises(ConfigError, match="Docker Compose is not installed: https"):
        Compose(host.root, {})


def test_key_goes_in_as_a_file_alone(host: Host, tmp_path: Path) -> None:
    (host.root / ".env").write_text(f"NGC_API_KEY={KEY}\n")
    assert host.convert("fetch") == 0
    (call,) = host.calls("run")
    assert call["key"] == KEY
    assert KEY not in json.dumps(call["env"]) + json.dumps(call["arguments"])
    assert not Path(call["env"]["NGC_API_KEY_FILE"]).exists()
    assert KEY not in repr(host.settings())


def test_key_of_a_file_goes_in_as_one_that_the_container_can_read(host: Host) -> None:
    own = host.root / "own key"
    own.write_text(f"{KEY}\n")
    own.chmod(0o600)
    assert host.convert("fetch", NGC_API_KEY_FILE=str(own)) == 0
    (call,) = host.calls("run")
    assert call["key"] == KEY
    assert call["env"]["NGC_API_KEY_FILE"] != str(own)


def test_key_file_that_is_missing_is_named(host: Host, capsys: Capture) -> None:
    missing = host.root / "key"
    assert host.convert("fetch", NGC_API_KEY_FILE=str(missing)) == 2
    assert f"{missing}: no such file" in capsys.readouterr().err
    assert host.calls("run") == []


def test_dollar_signs_are_those_of_the_settings(host: Host) -> None:
    repository = host.models.rename(host.root / "a$b")
    settings = host.settings(FACEKIT_MODEL_REPOSITORY=str(repository), NGC_API_KEY="a$b")
    assert (settings.repository, settings.key) == (repository, "a$b")


def test_secret_file_is_nobody_else_s_and_gone_after_a_failure() -> None:
    with pytest.raises(RuntimeError), secret_file(KEY) as path:
        assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
        raise RuntimeError
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("images", "words", "built"),
    [
        ([], [], [["converter"]]),
        ([IMAGE, BASE], ["--build"], [["--no-cache", "converter"]]),
        ([IMAGE, BASE], ["--no-build"], []),
        ([IMAGE], [], []),  # as one that was loaded where there is no internet
    ],
)
def test_image_is_built_unless_that_cannot_be(
    host: Host, images: list[str], words: list[str], built: list[list[str]]
) -> None:
    host.engine = FakeEngine(images, state={})
    assert host.convert(*words, "plan") == 0
    assert [call["arguments"] for call in host.calls("build")] == built


def test_build_that_fails_says_what_may_help(host: Host, capsys: Capture) -> None:
    assert host.convert("plan", FAKE_COMPOSE_BUILD="1") == 2
    said = capsys.readouterr().err
    for words in ("docker login nvcr.io", "conversion/releases.yaml", "docker system df"):
        assert words in said
    assert host.calls("run") == []


@pytest.mark.parametrize("code", [0, 1, 2])
def test_exit_code_of_the_converter_is_handed_on(host: Host, code: int) -> None:
    assert host.convert("plan", FAKE_COMPOSE_RUN=str(code)) == code
    assert host.engine.calls == ["remove"]


@pytest.mark.parametrize(
    ("state", "words"),
    [({"OOMKilled": True}, "used up its memory (16g)"), ({}, "it was killed"), (None, "killed")],
)
def test_converter_that_is_killed_is_explained(
    host: Host, capsys: Capture, state: dict[str, Any] | None, words: str
) -> None:
    host.engine = FakeEngine([IMAGE, BASE], state=state)
    assert host.convert("plan", FAKE_COMPOSE_RUN="137") == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def mild() -> Iterator[list[int]]:
    """Signals that end a run, none of which ends the tests; which of them came is returned."""
    came: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in numbers}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_run_ended_by_a_signal_stops_the_container_and_removes_the_key(
    host: Host, monkeypatch: pytest.MonkeyPatch, mild: list[int], number: int
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(host.root))
    seen: list[Path] = []
    wait = cli.Compose.call

    def call(self: Compose, *arguments: str, **options: bool) -> int:
        if arguments[0] == "run":
            seen.extend(host.root.glob("facekit-*/ngc_api_key"))
            os.kill(os.getpid(), number)
        return wait(self, *arguments, **options)

    monkeypatch.setattr(cli.Compose, "call", call)
    assert host.convert("fetch", NGC_API_KEY=KEY) == 130
    assert len(seen) == 1 and not seen[0].exists()
    assert host.engine.calls == ["stop", "remove"]
    if number != signal.SIGINT:
        os.kill(os.getpid(), number)
        assert mild == [number]


def test_run_under_nohup_outlives_its_terminal(
    host: Host, monkeypatch: pytest.MonkeyPatch, mild: list[int]
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wait = cli.Compose.call

    def call(self: Compose, *arguments: str, **options: bool) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return wait(self, *arguments, **options)

    monkeypatch.setattr(cli.Compose, "call", call)
    assert host.convert("fetch") == 0


def test_help_needs_no_engine(host: Host, capsys: Capture) -> None:
    assert main(["--help"], environ={}, root=host.root, command=COMPOSE) == 0
    assert "scripts/convert --check" in capsys.readouterr().out
    for words in (["plan", "--help"], ["--help", "plan"]):
        with pytest.raises(SystemExit) as ended:
            main(words, environ={}, root=host.root, command=COMPOSE)
        assert ended.value.code == 0
        assert "--triton TAG" in capsys.readouterr().out
