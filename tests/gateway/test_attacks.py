"""Hostile requests: each ends soon with a refusal or a closed connection, and others are served."""

from __future__ import annotations

import gzip
import itertools
import re
import select
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

import pytest

from facekit.gateway.settings import MIB, GatewayLimits
from tests.gateway.callers import CLOSED, GET, INFER, SOON_S, Gateway, ints, post
from tests.gateway.echo import Echo
from tests.gateway.limited import limited_gateway

LIMITS = GatewayLimits(
    body_bytes=16 * MIB,
    json_bytes=4 * MIB,
    bodies_bytes=48 * MIB,
    connections=128,
    requests_per_server=8,
    waiting=16,
    header_timeout_s=0.7,
    idle_timeout_s=0.7,
)
# What the gateway's memory may grow by meanwhile: all bodies, their decompression, JSON.
GROWTH_BYTES = 384 * MIB

GOOD = post(ints())


@pytest.fixture(scope="module")
def attacked(echo: Echo) -> Iterator[Gateway]:
    with limited_gateway(echo.server.grpc_url, LIMITS) as (port, pid):
        with Gateway(port, pid) as gateway:
            before = gateway.memory()
            yield gateway
        assert gateway.answered > 0
        assert gateway.memory() - before < GROWTH_BYTES
        assert echo.server.exit_reason() == ""


@pytest.fixture(autouse=True)
def others_are_served(attacked: Gateway) -> Iterator[None]:
    answered = attacked.answered
    yield
    end = time.monotonic() + SOON_S
    while attacked.answered <= answered + 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert attacked.answered > answered + 1
    assert attacked.failures == []


def slowly(first: bytes, piece: bytes, every_s: float) -> Iterator[bytes]:
    yield first
    while True:
        time.sleep(every_s)
        yield piece


def endless(first: bytes, piece: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield piece


CHUNKED = INFER + b"Transfer-Encoding: chunked\r\n\r\n"
JSON_HEAD = "Content-Type: application/json"
BOMB = zlib.compress(b"\0" * 200 * MIB)
GZIP = "Content-Encoding: gzip"

ATTACKS: dict[str, tuple[Callable[[], Iterable[bytes]], set[int]]] = {
    # The two that end a Triton: see docs/security.md.
    "700,000 chunks of a byte": (lambda: [CHUNKED, b"1\r\na\r\n" * 700_000, b"0\r\n\r\n"], {413}),
    "a form of 5 MB": (
        lambda: [post(b"a" * 5_000_000, "Content-Type: application/x-www-form-urlencoded")],
        {400, 413},
    ),
    # Slow, endless, or of another length than said.
    "slow headers": (lambda: slowly(b"GET / HTTP/1.1\r\n", b"a: b\r\n", 0.05), {408}),
    "slow request line": (lambda: slowly(b"G", b"E", 0.1), {400, 408}),
    "no request": (lambda: slowly(b"", b"", 10), {CLOSED}),
    "headers without an end": (lambda: endless(GET, b"a: b\r\n" * 1000), {431}),
    "a body that does not come": (lambda: [post(b"", length=9)], {408}),
    "a slow body": (lambda: slowly(post(b"", length=10**6), b"a" * 50, 0.05), {408}),
    "slow chunks": (lambda: slowly(CHUNKED, b"1\r\na\r\n", 0.05), {408}),
    "endless chunks": (lambda: endless(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n"), {413}),
    "an endless chunk extension": (lambda: endless(CHUNKED + b"1;", b"a" * 65536), {400, 413, 431}),
    "a chunk of a million terabytes": (lambda: [CHUNKED, b"fffffffffffffffff\r\n"], {400, 408}),
    "a chunk size that is none": (lambda: [CHUNKED, b"-1\r\na\r\n0\r\n\r\n"], {400}),
    "a chunk that is longer than said": (lambda: [CHUNKED, b"1\r\nab\r\n0\r\n\r\n"], {400}),
    "endless trailers": (lambda: endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 1000), {400, 431}),
    "a length of 300 GB": (lambda: [post(b"", length=300 * 10**9)], {413}),
    "a length of 21 digits": (lambda: [post(b"", length=10**20)], {400, 413}),
    "a length that is too short": (lambda: [post(ints(), length=10)], {400}),
    "a negative length": (lambda: [post(b"", length=-1)], {400}),
    # What another server may read as another request.
    "chunks and a length": (
        lambda: [INFER + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        {400},
    ),
    "chunks in HTTP/1.0": (lambda: [CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n"], {400}),
    "two lengths": (lambda: [post(b"abc", "Content-Length: 5")], {400}),
    "an unknown transfer encoding": (
        lambda: [INFER + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"],
        {400, 501},
    ),
    "a header continued on the next line": (lambda: [GET + b"a: b\r\n c: d\r\n\r\n"], {400}),
    "a space before a colon": (lambda: [GET + b"Content-Length : 3\r\n\r\nabc"], {400}),
    "lines without carriage returns": (lambda: [GET.replace(b"\r", b"") + b"\n"], {400}),
    "one line without it": (lambda: [GET + b"a: b\n\r\n"], {400}),
    "two hosts": (lambda: [GET + b"Host: localhost\r\n\r\n"], {400}),
    "no host": (lambda: [b"GET / HTTP/1.1\r\n\r\n"], {400}),
    # What is no request of HTTP/1.1.
    "HTTP/0.9": (lambda: [b"GET /v2\r\n\r\n"], {400}),
    "the preface of HTTP/2": (lambda: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], {400, 505}),
    "TLS": (lambda: [bytes.fromhex("16030100c6010000c20303") + bytes(187)], {400, 408}),
    "noise": (lambda: [bytes(range(256)) * 4096], {400, 431}),
    "zeros": (lambda: [bytes(10**6)], {400, 431}),
    "an expectation that is none": (lambda: [GET + b"Expect: nonsense\r\n\r\n"], {417}),
    "an expectation and no body": (lambda: [post(b"", "Expect: 100-continue", length=9)], {408}),
    "a header of 200 kB": (lambda: [GET + b"a: " + b"b" * 200_000 + b"\r\n\r\n"], {431}),
    "10,000 headers": (lambda: [GET + b"a: b\r\n" * 10_000 + b"\r\n"], {431}),
    "a path of 60 kB": (
        lambda: [b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {431},
    ),
    # Methods and paths.
    "another server's address": (
        lambda: [b"GET http://b/v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {400, 404},
    ),
    "CONNECT": (lambda: [b"CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n"], {400, 404, 405}),
    "TRACE": (lambda: [GET.replace(b"GET", b"TRACE") + b"\r\n"], {405}),
    "a zero in the path": (lambda: [b"GET /v2\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"], {400}),
    "a carriage return in the path": (
        lambda: [b"GET /v2\r/ HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {400},
    ),
    "a path out of the models": (
        lambda: [b"GET /v2/models/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {404},
    ),
    "a model named ..": (
        lambda: [b"GET /v2/models/%2e%2e HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {404},
    ),
    "a file beside the page": (
        lambda: [b"GET /..%2fapp.py HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {404},
    ),
    "a model of control characters": (
        lambda: [b"GET /v2/models/%00%0d%0a%ff HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        {400, 404},
    ),
    "a websocket": (
        lambda: [
            GET.replace(b"health/live", b"chat")
            + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ],
        {404},
    ),
    # Compressed.
    "a bomb": (lambda: [post(BOMB, "Content-Encoding: deflate")], {413}),
    "a bomb within a bomb": (lambda: [post(gzip.compress(BOMB), GZIP)], {400}),
    "two compressions": (lambda: [post(BOMB, "Content-Encoding: gzip, deflate")], {415}),
    "a broken stream": (
        lambda: [post(BOMB[:10] + b"\xff" * 99, "Content-Encoding: deflate")],
        {400},
    ),
    "half a stream": (lambda: [post(gzip.compress(ints())[:-9], GZIP)], {400}),
    "a stream with more behind it": (
        lambda: [post(gzip.compress(ints()) + b"a" * 10**6, GZIP)],
        {400},
    ),
    "an unknown compression": (lambda: [post(ints(), "Content-Encoding: br")], {415}),
    # JSON and tensors.
    "nested JSON": (lambda: [post(b'{"inputs":' + b"[" * 100_000)], {400}),
    "too much JSON": (lambda: [post(b'{"a":"' + b"b" * 5 * MIB + b'"}')], {413}),
    "too many values": (lambda: [post(b'{"inputs":[' + b"0," * 2_000_000 + b"0]}")], {400, 413}),
    "too many lists": (lambda: [post(b'{"inputs":[' + b"[]," * 10**6 + b"[]]}")], {413}),
    "a number of a million digits": (lambda: [post(b'{"inputs":[' + b"9" * 10**6 + b"]}")], {400}),
    "a shape that overflows": (lambda: [post(ints(shape=[2**31 - 1] * 8))], {400}),
    "a shape of 2^64": (lambda: [post(ints(shape=[2**32, 2**32]))], {400}),
    "a shape of 100,000 dims": (lambda: [post(ints(shape=[1] * 100_000))], {400}),
    "a negative shape": (lambda: [post(ints(shape=[-1]))], {400}),
    "a negative size": (lambda: [post(ints(binary_data_size=-4))], {400}),
    "a size beyond the body": (lambda: [post(ints(binary_data_size=10**9))], {400}),
    "a size of another shape": (lambda: [post(ints(binary_data_size=0, shape=[10**6]))], {400}),
    "JSON that is longer than the body": (
        lambda: [post(ints(), "Inference-Header-Content-Length: 999999")],
        {400},
    ),
    "JSON of a negative length": (
        lambda: [post(ints(), "Inference-Header-Content-Length: -1")],
        {400},
    ),
    "two lengths of JSON": (
        lambda: [
            post(
                ints(),
                "Inference-Header-Content-Length: 1",
                "Inference-Header-Content-Length: 2",
            )
        ],
        {400},
    ),
    "shared memory": (lambda: [post(ints(shared_memory_region="a"))], {400}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(attacked: Gateway, name: str) -> None:
    sent, expected = ATTACKS[name]

    assert attacked.status(sent()) in expected


def test_body_after_an_expectation_is_answered(attacked: Gateway) -> None:
    assert attacked.status([post(ints(), "Expect: 100-continue", "Connection: close")]) == 200


def test_caller_that_goes_within_its_body_is_forgotten(attacked: Gateway) -> None:
    for _ in range(50):
        with attacked.connect() as caller:
            caller.sendall(post(b"a" * 1000, length=2000))


def test_pipelined_requests_are_answered_in_order(attacked: Gateway) -> None:
    sent = b"".join(GET.replace(b"health/live", b"models/m%d" % k) + b"\r\n" for k in range(1000))
    with attacked.connect() as caller:
        threading.Thread(target=caller.sendall, args=(sent,)).start()
        answers = b""
        while answers.count(b"\r\n\r\n") < 1000 or not answers.endswith(b"}"):
            found = caller.recv(65536)
            assert found
            answers += found
    assert re.findall(rb"model: 'm(\d+)'", answers) == [b"%d" % k for k in range(1000)]


def test_idle_connections_do_not_shut_others_out(attacked: Gateway) -> None:
    with ExitStack() as stack:
        callers = [stack.enter_context(attacked.connect()) for _ in range(1000)]
        assert attacked.status([GOOD]) == 200
        end = time.monotonic() + SOON_S
        for caller in callers:
            caller.settimeout(max(0.1, end - time.monotonic()))
            try:
                assert caller.recv(1) == b""
            except ConnectionResetError:
                pass


def test_busy_connections_of_one_address_do_not_shut_others_out(attacked: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            caller = stack.enter_context(attacked.connect())
            caller.sendall(post(b"a", length=10**6))
        answered = attacked.answered
        while attacked.answered < answered + 3:
            time.sleep(0.01)
        assert attacked.failures == []


def test_answer_that_is_not_read_ends_its_connection(attacked: Gateway) -> None:
    data = bytes(12 * MIB)
    head = ints(shape=[len(data) // 4], binary_data_size=len(data))[:-1]
    head += b', "parameters": {"binary_data_output": true}}'
    request = post(head + data, f"Inference-Header-Content-Length: {len(head)}")
    with ExitStack() as stack:
        for _ in range(2):
            caller = stack.enter_context(attacked.connect())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            caller.sendall(request)
        end = time.monotonic() + SOON_S
        # A caller can see that without reading.
        while not _is_reset(caller):
            assert time.monotonic() < end
            time.sleep(0.05)


def _is_reset(caller: socket.socket) -> bool:
    poll = select.poll()
    poll.register(caller, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def test_bodies_together_are_bounded(attacked: Gateway) -> None:
    part = bytes(11 * MIB)
    statuses: list[int] = []

    def attack() -> None:
        body = post(b"", length=12 * MIB)
        statuses.append(
            attacked.status(itertools.chain([body, part], slowly(b"", b"a" * 9999, 0.05)))
        )

    threads = [threading.Thread(target=attack) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 503 in statuses
    assert set(statuses) <= {400, 408, 413, 503, CLOSED}
