"""``python -m conversion``: options, exit codes, and what is said on which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conversion import cli
from facekit.command import EXIT_FAILED, EXIT_UNUSABLE
from tests.conversion.conftest import ROOT

# Refuses every connection, runs the command, and prints the packages that it imported.
_ALONE = """
import json, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was used: {event} {arguments}")
sys.addaudithook(refuse)
from conversion.cli import main
code = main(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""

DO_IT = "do it, on the machine with the GPU that is to run it:"


def run(*argv: str, repository: Path | None = None) -> int:
    options = [] if repository is None else ["--repository", str(repository)]
    options += [] if repository is None else ["--weights-dir", str(repository.parent / "weights")]
    return cli.main([*argv, *options])


def test_plan_on_a_clone_needs_no_network_and_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, "plan"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, packages = json.loads(done.stderr)
    assert code == 0
    assert not {"numpy", "nvidia", "tritonclient", "docker", "PIL", "pytriton"} & set(packages)
    assert "nvidia/tao/facenet:pruned_quantized_v2.0.1" in done.stdout
    assert done.stdout.rstrip().endswith(
        "do it, on the machine with the GPU that is to run it: docker compose run --rm converter"
    )


def test_plan_repeats_the_options_that_the_run_needs(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "fpenet", "--weights", "open", "--device", "cpu", repository=repository) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"{DO_IT} scripts/convert all fpenet --weights open --repository "
        f"{repository} --weights-dir {repository.parent / 'weights'} --device cpu"
    )


def test_plan_without_paths_is_done_by_compose(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEKIT_MODEL_REPOSITORY", str(repository))
    assert run("plan", "fpenet", "--weights", "open") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{DO_IT} docker compose run --rm converter all fpenet --weights open"


def test_plan_as_json_is_one_value(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--json", "facenet", repository=repository) == 0
    assert [e["model"] for e in json.loads(capsys.readouterr().out)["engines"]] == ["facenet"]


def test_plan_prints_the_commands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--commands") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# facenet, weights nvidia"
    assert lines[1].startswith("tao-converter -k nvidia_tlt -t int8 -c /weights/facenet_v")
    assert lines[-1].startswith("trtexec --loadEngine=$ENGINE")


def test_plan_that_cannot_be_done_ends_with_1(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "--triton", "24.08", repository=repository) == EXIT_FAILED
    assert "cannot read a UFF or .etlt model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["plan", "--weights", "opne"], "facenet has no weights 'opne'; there are nvidia"),
        (["plan", "emotion"], "unknown model 'emotion'; there are facenet, fpenet, facemask"),
        (["plan", "--models", "none.yaml"], "none.yaml: no such file"),
        (["plan", "--triton", "20.01"], "Triton 20.01 is not in releases.yaml"),
        (["fetch"], "is under the NVIDIA TAO Toolkit Model EULA"),
        (["fetch", "--from", "none", "--accept-eula"], "--from none: no such folder"),
        (["build", "--weights", "open"], "there is no TensorRT here"),
    ],
)
def test_command_that_cannot_begin_says_why_on_one_stream(
    repository: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert run(*argv, repository=repository) == EXIT_UNUSABLE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("conversion: ") and words in printed.err


@pytest.mark.parametrize(
    ("make_folder", "words"),
    [(False, "no such folder; name the model repository"), (True, "has no model facenet")],
)
def test_folder_that_is_no_repository_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_folder: bool, words: str
) -> None:
    repository = tmp_path / "models"
    if make_folder:
        repository.mkdir()
    assert run("plan", "--weights", "nvidia", repository=repository) == EXIT_UNUSABLE
    assert words in capsys.readouterr().err


def test_repository_and_weights_are_taken_from_the_environment(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEKIT_MODEL_REPOSITORY", str(repository))
    monkeypatch.setenv("FACEKIT_WEIGHTS_DIR", "/somewhere")
    monkeypatch.setenv("FACEKIT_WEIGHTS", "open facenet=nvidia")
    monkeypatch.setenv("FACEKIT_ACCEPT_EULA", "yes")
    assert run("plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["repository"], plan["weights_dir"]) == (str(repository), "/somewhere")
    assert [(e["weights"], e["accepted"]) for e in plan["engines"]] == [
        ("nvidia", True),
        ("open", None),
    ]


def test_missing_package_names_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("yaml", "conversion.catalog", "conversion.yaml_file", "conversion.plan"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert run("fetch") == EXIT_UNUSABLE
    said = capsys.readouterr().err
    assert said.startswith("conversion: yaml is not installed: install facekit-triton[convert]")


def test_path_of_the_host_is_shown_as_the_host_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cli.HOST_ROOT_VARIABLE, "/host")
    cli.say("/host/home/me/a.yaml:4: scripts/convert all --from /host/mnt /hosts /models")
    said = "/home/me/a.yaml:4: scripts/convert all --from /mnt /hosts /models\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("interrupt", "code"),
    [(KeyboardInterrupt, 130), (lambda: signal.raise_signal(signal.SIGTERM), 143)],
)
def test_signal_ends_the_work_and_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interrupt: object,
    code: int,
) -> None:
    def probe() -> object:
        assert callable(interrupt)
        result = interrupt()
        raise result if isinstance(result, BaseException) else AssertionError("not stopped")

    monkeypatch.setattr("facekit.engines.machine.probe_machine", probe)
    before = signal.getsignal(signal.SIGTERM)
    assert run("plan") == code
    assert signal.getsignal(signal.SIGTERM) is before
    assert "engines that were there before still are" in capsys.readouterr().err


def test_reader_that_left_early_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m conversion plan; echo code $? >&2",
        shell=True,
        cwd=ROOT,
        stdout=_closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stderr == "code 1\n"


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_text_that_a_terminal_would_obey_is_shown_as_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.say("NGC said \x1b[2Jhello\r\n\tworld")
    assert capsys.readouterr().err == "NGC said \\x1b[2Jhello\\r\n\tworld\n"


def test_help_of_each_command_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "fetch", "build", "serialize", "verify", "all"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        assert "Exit codes: 0 done; 1 some of the work failed" in capsys.readouterr().out
