"""``facekit serve`` as its users run it: a process, signals, and what it says."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import ServerUnavailableError, SetupError
from facekit.serving import EmbeddedServer, processes
from facekit.serving.health import check
from facekit.serving.ports import choose_ports
from facekit.serving.supervisor import Supervisor
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for

OPTIONS = ("--http-port", "--grpc-port", "--metrics-port")


class Served:
    """A running ``facekit serve`` on a repository that a test can break."""

    def __init__(self, folder: Path, *options: str, instances: int = 1) -> None:
        self.folder = folder / "models"
        if not self.folder.exists():
            tiny_repository(self.folder, instances)
        self.ports = choose_ports("127.0.0.1", dict.fromkeys(OPTIONS, 0))
        self.url = f"127.0.0.1:{self.ports['--grpc-port']}"
        self._said = folder / "said.txt"
        command = [sys.executable, "-m", "facekit.cli", "serve", *options]
        command += [f"--model-repository={self.folder}"]
        command += [f"{option}={port}" for option, port in self.ports.items()]
        with self._said.open("w") as output:
            self.process = subprocess.Popen(command, stderr=output)

    @property
    def said(self) -> str:
        return self._said.read_text("utf-8")

    def ready(self, times: int = 1) -> bool:
        return wait_for(
            lambda: self.said.count(": ready") >= times or self.process.poll() is not None
        ) and (self.process.poll() is None)

    def says(self, words: str) -> bool:
        return wait_for(lambda: words in self.said)

    def server(self) -> processes.Process:
        return self._child("tritonserver")

    def gateway(self) -> processes.Process:
        return self._child(Path(sys.executable).name)

    def _child(self, program: str) -> processes.Process:
        alive = [child for child in processes.children(self.process.pid) if child.alive]
        (found,) = [
            child for child in alive if Path(processes.arguments(child.pid)[0]).name == program
        ]
        return found

    def stubs(self) -> list[processes.Process]:
        return processes.children(self.server().pid)

    def answers(self) -> bool:
        with Client(self.url, timeout_s=5) as client:
            try:
                return len(client.detect(probe_photo())) == 2
            except ServerUnavailableError:
                return False

    def http(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["--http-port"], timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def finish(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, instances=2)
    try:
        assert served.ready(), served.said
        yield served
    finally:
        served.process.kill()
        served.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_everything_with_exit_code_zero(served: Served, number: int) -> None:
    everything = [served.server(), served.gateway(), *served.stubs()]
    assert served.answers()

    assert served.finish(number) == 0

    assert not any(map(processes.still_runs, everything))
    assert served.said.count("Triton 2.51.0 has known holes (") == 1
    assert served.said.rstrip().endswith("stopping")


def test_killed_backend_process_is_mended(served: Served) -> None:
    assert served.answers()
    os.kill(served.stubs()[0].pid, signal.SIGKILL)

    assert served.ready(2), served.said

    assert served.answers()
    assert check(served.url).ok
    assert "the backend process of faces_0_" in served.said
    assert "died; the server is restarted now" in served.said
    # One line for what broke, one for its end; nothing goes on failing.
    assert served.said.count("restarted") == 1
    assert served.finish() == 0


def test_killed_server_is_mended_by_a_supervisor_that_slept(served: Served) -> None:
    # Its main thread; the probes run in another.
    status = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/status")

    def turns() -> int:
        return int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status.read_text(), re.M)[0])

    time.sleep(0.3)
    before = turns()
    time.sleep(1.0)
    assert turns() - before <= 2
    os.kill(served.server().pid, signal.SIGKILL)

    assert served.ready(2), served.said

    assert served.answers()
    assert "the server process died; the server is restarted now" in served.said


def test_killed_gateway_is_started_again_and_the_server_stays(served: Served) -> None:
    before = [served.server(), *served.stubs()]
    os.kill(served.gateway().pid, signal.SIGKILL)

    assert served.ready(2), served.said

    assert "the HTTP gateway died; it is restarted now" in served.said
    assert all(map(processes.still_runs, before))
    assert served.http("/v2/health/live") == 200
    assert served.finish() == 0


def test_gateway_says_that_a_server_is_away_which_is_started_again(served: Served) -> None:
    gateway = served.gateway()
    broken = served.folder / "faces" / "broken"
    broken.touch()
    os.kill(served.server().pid, signal.SIGKILL)
    assert wait_for(lambda: "the label file has 3 lines" in served.said), served.said

    assert served.http("/v2/health/ready") == 503
    broken.unlink()

    assert served.ready(2), served.said
    # Its connection tries again once a second.
    assert wait_for(lambda: served.http("/v2/health/ready") == 200)
    assert processes.still_runs(gateway)


def test_failing_inference_is_mended(served: Served) -> None:
    # The processes live, and only an inference tells.
    flag = served.folder / "faces" / "fail"
    flag.touch()
    assert wait_for(lambda: "a real inference of faces failed" in served.said), served.said
    flag.unlink()

    assert wait_for(served.answers)
    assert re.search(r"it fails.*; the server is restarted now", served.said)


def test_broken_start_is_tried_again(served: Served) -> None:
    broken = served.folder / "faces" / "broken"
    broken.touch()
    os.kill(served.stubs()[0].pid, signal.SIGKILL)
    assert wait_for(lambda: "the label file has 3 lines" in served.said), served.said
    broken.unlink()

    assert served.ready(2), served.said
    assert served.answers()
    assert "restarted in 1 s" in served.said


def test_start_with_a_damaged_configuration_is_tried_again(served: Served) -> None:
    damaged = served.folder / "extra" / "config.pbtxt"
    damaged.parent.mkdir()
    damaged.write_bytes(b'name: "\xff"')
    os.kill(served.server().pid, signal.SIGKILL)
    assert served.says(f"{damaged}: cannot be read as text"), served.said
    shutil.rmtree(damaged.parent)

    assert served.ready(2), served.said
    assert served.answers()
    assert "Traceback" not in served.said


def test_request_under_way_is_told_to_try_again(served: Served) -> None:
    hang = served.folder / "faces" / "hang"
    hang.touch()
    code = (
        "import sys; from facekit.client import Client; from facekit.data import probe_photo\n"
        f"try: Client({served.url!r}, timeout_s=120).detect(probe_photo())\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as call:
        # A probe hangs in one process, and the request in the other.
        assert wait_for(lambda: len(list(hang.parent.glob("hanging-*"))) == 2)
        os.kill(served.server().pid, signal.SIGKILL)
        hang.unlink()
        output, _ = call.communicate(timeout=60)

    assert output.startswith("ServerUnavailableError"), output
    assert "try again" in output
    assert served.ready(2), served.said


def test_second_signal_ends_at_once(served: Served) -> None:
    (served.folder / "faces" / "hang").touch()
    assert wait_for((served.folder / "faces" / "hanging").exists)
    everything = [served.server(), *served.stubs()]
    served.process.send_signal(signal.SIGTERM)
    assert wait_for(lambda: "stopping" in served.said)

    served.finish()

    assert wait_for(lambda: not any(map(processes.still_runs, everything)))


def test_killed_supervisor_takes_its_server_along(served: Served) -> None:
    everything = [served.server(), *served.stubs()]
    served.process.kill()

    assert wait_for(lambda: not any(map(processes.still_runs, everything)))


def test_first_start_that_fails_ends_with_the_reason(tmp_path: Path) -> None:
    (tiny_repository(tmp_path / "models") / "faces" / "broken").touch()
    served = Served(tmp_path)

    assert served.process.wait(60) == 2
    assert "model faces: " in served.said
    assert "the label file has 3 lines, expected 1" in served.said
    assert "Traceback" not in served.said


def test_quiet_says_nothing_of_a_good_run(tmp_path: Path) -> None:
    served = Served(tmp_path, "--quiet")
    assert wait_for(served.answers)

    assert served.finish() == 0
    assert served.said == ""


def test_missing_repository_is_said_in_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "facekit.cli",
        "serve",
        "--model-repository",
        str(tmp_path / "no"),
    ]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_stop_while_the_first_start_checks_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(server: EmbeddedServer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        pytest.fail("it went on waiting")

    monkeypatch.setattr(EmbeddedServer, "_prepare", prepare)
    said: list[str] = []

    Supervisor(EmbeddedServer(tiny_repository(tmp_path)), said.append).run()

    assert said == ["stopping"]


def test_stop_while_the_first_start_fails_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(EmbeddedServer(tiny_repository(tmp_path)), lambda line: None)

    def fail(server: EmbeddedServer) -> None:
        supervisor.stop()
        raise SetupError("no engine")

    monkeypatch.setattr(EmbeddedServer, "_prepare", fail)

    supervisor.run()
