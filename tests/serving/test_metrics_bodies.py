"""Large bodies at Triton's metrics leave the server alive, and under any limit of the stack."""

from __future__ import annotations

import http.client
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.serving import EmbeddedServer
from tests.serving.tiny import tiny_repository

MB = 10**6
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server started under few open files and no limit of the stack, if that is allowed.

    Of "unlimited" glibc makes 2 MiB a thread.
    """
    stack = resource.getrlimit(resource.RLIMIT_STACK)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_STACK, (stack[1], stack[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, files[1]))
    try:
        server = EmbeddedServer(tiny_repository(tmp_path_factory.mktemp("limited")))
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, stack)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


def where(server: EmbeddedServer) -> tuple[str, int]:
    host, port = server.metrics_url.removeprefix("http://").partition("/")[0].split(":")
    return host, int(port)


def metrics(server: EmbeddedServer, method: str, body: bytes = b"") -> int:
    connection = http.client.HTTPConnection(*where(server), timeout=60)
    try:
        connection.request(method, "/metrics", body, {"Content-Type": FORM})
        return connection.getresponse().status
    finally:
        connection.close()


def test_large_form_leaves_the_server_alive(limited: EmbeddedServer) -> None:
    pid = limited.pid

    assert metrics(limited, "POST", b"a" * 5 * MB) >= 400
    assert metrics(limited, "GET") == 200
    assert limited.pid == pid is not None, limited.exit_reason()


def test_many_small_chunks_leave_the_server_alive(limited: EmbeddedServer) -> None:
    pid = limited.pid

    with socket.create_connection(where(limited), timeout=60) as caller:
        caller.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(700):
            caller.sendall(b"1\r\na\r\n" * 1000)
        caller.sendall(b"0\r\n\r\n")
        assert caller.recv(64).startswith(b"HTTP/1.1 4")
    assert metrics(limited, "GET") == 200
    assert limited.pid == pid is not None, limited.exit_reason()


def test_server_under_few_open_files_gets_what_the_hard_limit_allows(
    limited: EmbeddedServer,
) -> None:
    text = Path(f"/proc/{limited.pid}/limits").read_text("utf-8")

    (line,) = (line for line in text.splitlines() if line.startswith("Max open files"))
    assert int(line.split()[3]) >= 256
