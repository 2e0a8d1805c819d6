import http.client
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import SetupError
from facekit.serving import EmbeddedServer, processes
from tests.serving.tiny import tiny_repository
from tests.serving.waiting import wait_for


def traces(pid: int) -> list[Path]:
    """Return what a running server has in the temporary folder and in shared memory."""
    options = dict(option.rpartition("=")[::2] for option in processes.arguments(pid)[1:])
    prefix = options["--backend-config=python,shm-region-prefix-name"]
    return [Path(options["--model-repository"]).parent, *Path("/dev/shm").glob(f"{prefix}*")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tiny_repository(tmp_path / "models")


def test_server_answers_and_leaves_nothing_behind(repository: Path) -> None:
    with EmbeddedServer(repository) as server:
        assert server.pid is not None
        left = traces(server.pid)
        stubs = processes.children(server.pid)
        with Client(server.grpc_url) as client:
            assert len(client.detect(probe_photo())) == 2
        host, port = server.metrics_url.removeprefix("http://").split("/")[0].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("GET", "/metrics")
        assert b"nv_inference_request_success" in connection.getresponse().read()
        connection.close()
        assert not any("Started HTTPService" in line for line in server.log_tail())
        with pytest.raises(SetupError, match="no HTTP: give it an http_port"):
            _ = server.http_url

    assert server.pid is None
    assert stubs
    assert not any(processes.still_runs(stub) for stub in stubs)
    assert len(left) > 2 and not any(path.exists() for path in left)


def test_server_started_again_keeps_its_ports(repository: Path, tmp_path: Path) -> None:
    server = EmbeddedServer(repository, http_port=0, log_file=tmp_path / "logs" / "server.log")
    urls = []
    for _ in range(2):
        server.start()
        server.wait_ready()
        with Client(server.grpc_url) as client:
            client.detect(probe_photo())
        urls.append((server.grpc_url, server.http_url))
        server.stop()

    assert urls[0] == urls[1]
    text = (tmp_path / "logs" / "server.log").read_text("utf-8")
    assert text.count("Started GRPCInferenceService") == 2


def test_server_with_a_broken_model_names_it_and_the_reason(repository: Path) -> None:
    (repository / "faces" / "broken").touch()
    server = EmbeddedServer(repository)

    with pytest.raises(SetupError) as caught, server:
        pass

    lines = str(caught.value).splitlines()
    assert "exit code 1" in lines[0]
    assert lines[1].strip().startswith("model faces: ")
    assert lines[1].endswith("the label file has 3 lines, expected 1")
    assert len(lines) == 2
    assert server.pid is None
    assert any("label file" in line for line in server.log_tail(500))


def test_server_without_a_repository_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"nowhere does not exist.*--model-repository"):
        EmbeddedServer(tmp_path / "nowhere").start()


def test_server_on_a_used_port_says_which(tiny_server: EmbeddedServer, repository: Path) -> None:
    port = int(tiny_server.grpc_url.split(":")[1])
    with pytest.raises(SetupError, match=r"\(--http-port\).*in use"):
        EmbeddedServer(repository, http_port=port).start()


def test_server_on_every_address_is_reached(repository: Path) -> None:
    with (
        EmbeddedServer(repository, address="0.0.0.0") as server,
        Client(server.grpc_url) as client,
    ):
        assert server.grpc_url.startswith("127.0.0.1:")
        assert len(client.detect(probe_photo())) == 2


def test_server_not_started_has_no_url(repository: Path) -> None:
    with pytest.raises(SetupError, match="not started"):
        _ = EmbeddedServer(repository).grpc_url


def test_stop_lets_a_request_under_way_end(repository: Path) -> None:
    hang = repository / "faces" / "hang"
    with EmbeddedServer(repository) as server, Client(server.grpc_url) as client:
        client.detect(probe_photo())
        hang.touch()
        # The answer is still to come when the server is told to stop.
        code = (
            "import sys; from facekit.client import Client; from facekit.data import probe_photo;"
            f"print(len(Client({server.grpc_url!r}).detect(probe_photo())))"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as caller:
            assert wait_for((hang.parent / "hanging").exists)
            with subprocess.Popen(
                [sys.executable, "-c", f"import time, os; time.sleep(1); os.unlink({str(hang)!r})"]
            ):
                server.stop()
            output, _ = caller.communicate(timeout=60)

    assert output == "2\n"


PARENT = """
import sys, time
from facekit.serving import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.start()
server.wait_ready()
print(server.pid, flush=True)
time.sleep(600)
"""


def test_server_and_its_backends_end_with_a_killed_parent(repository: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        server = processes.read(pid)
        assert server is not None
        stubs = processes.children(pid)
        left = [path for path in traces(pid) if path.exists()]
        os.kill(parent.pid, signal.SIGKILL)

    assert stubs
    assert wait_for(lambda: not any(map(processes.still_runs, [server, *stubs])))
    # Nobody could clean up; the next start does, and leaves those of living servers alone.
    assert {path.parent for path in left} == {Path("/dev/shm"), Path(tempfile.gettempdir())}
    with EmbeddedServer(repository):
        assert not any(path.exists() for path in left)
