"""Large HTTP bodies leave the server alive, and under any limit of the stack."""

from __future__ import annotations

import http.client
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.limits import MAX_PHOTO_BYTES
from facekit.serving import EmbeddedServer
from tests.serving.tiny import tiny_repository

MB = 10**6
PATH = "/v2/models/faces/infer"
FORM = "application/x-www-form-urlencoded"
OCTETS = "application/octet-stream"
JSON = "application/json"


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


def post(server: EmbeddedServer, body: bytes, content_type: str, *, header_bytes: int = 0) -> int:
    connection = http.client.HTTPConnection(server.http_url, timeout=60)
    headers = {"Content-Type": content_type}
    if content_type != JSON:
        headers["Inference-Header-Content-Length"] = str(header_bytes)
    try:
        connection.request("POST", PATH, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def post_chunks(server: EmbeddedServer, count: int, size: int) -> int:
    host, port = server.http_url.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as caller:
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {OCTETS}\r\n"
        head += "Inference-Header-Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
        caller.sendall(head.encode())
        chunk = b"%x\r\n" % size + b"a" * size + b"\r\n"
        for _ in range(count // 1000):
            caller.sendall(chunk * 1000)
        caller.sendall(b"0\r\n\r\n")
        return int(caller.recv(64).split()[1])


def check_alive(server: EmbeddedServer, pid: int | None) -> None:
    assert server.pid == pid is not None, server.exit_reason()
    assert post(server, b"next", OCTETS) == 200


@pytest.mark.parametrize(
    ("content_type", "size"),
    [(FORM, 5 * MB), (FORM, MAX_PHOTO_BYTES + 40 * MB), (OCTETS, MAX_PHOTO_BYTES + 40 * MB)],
)
def test_large_body_is_answered_and_the_server_lives(
    tiny_server: EmbeddedServer, content_type: str, size: int
) -> None:
    pid = tiny_server.pid

    assert post(tiny_server, b"a" * size, content_type) == 200
    check_alive(tiny_server, pid)


def test_large_form_under_an_unlimited_stack_is_answered(limited: EmbeddedServer) -> None:
    pid = limited.pid

    assert post(limited, b"a" * 5 * MB, FORM) == 200
    check_alive(limited, pid)


def test_many_small_chunks_are_answered_and_the_server_lives(limited: EmbeddedServer) -> None:
    pid = limited.pid

    assert post_chunks(limited, 200_000, 1) == 200
    check_alive(limited, pid)


def test_deeply_nested_json_is_refused_and_the_server_lives(tiny_server: EmbeddedServer) -> None:
    pid = tiny_server.pid

    assert post(tiny_server, b'{"parameters":' + b"[" * MB, JSON) >= 400
    check_alive(tiny_server, pid)


@pytest.mark.parametrize("size", [3, 10**14])
def test_binary_body_smaller_than_its_shape_is_refused_and_the_server_lives(
    tiny_server: EmbeddedServer, size: int
) -> None:
    """Of JSON values Triton would take the memory first, as docs/operations.md says."""
    pid = tiny_server.pid
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 10**14]}
    header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()

    assert post(tiny_server, header + b"abc", OCTETS, header_bytes=len(header)) == 400
    check_alive(tiny_server, pid)


def test_server_under_few_open_files_gets_what_the_hard_limit_allows(
    limited: EmbeddedServer,
) -> None:
    text = Path(f"/proc/{limited.pid}/limits").read_text("utf-8")

    (line,) = (line for line in text.splitlines() if line.startswith("Max open files"))
    assert int(line.split()[3]) >= 256
