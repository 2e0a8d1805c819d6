"""The way to the server: its address, its options, and what becomes of a call when it fails."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from facekit import (
    Client,
    ConfigError,
    DeadlineError,
    FacekitError,
    ServerError,
    ServerUnavailableError,
)
from facekit.client.calls import detect_call
from facekit.client.connection import Connection, on_this_machine
from tests.addresses import Proxy, own_address
from tests.fake_triton import FakeTriton, slow


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_detect_past_its_time_is_a_deadline_error(fake: FakeTriton) -> None:
    fake.answer = slow(30)
    start = time.monotonic()
    with (
        Client(fake.url, timeout_s=0.3) as client,
        pytest.raises(DeadlineError, match=r"no answer from 127.* within 0\.3 s"),
    ):
        client.detect(b"photo")
    assert time.monotonic() - start < 10


def test_detect_with_no_server_says_try_again() -> None:
    with Client(f"127.0.0.1:{unused_port()}", timeout_s=5) as client:
        assert client.server_ready() is False
        with pytest.raises(ServerUnavailableError, match="try again"):
            client.detect(b"photo")


def test_detect_connection_cut_in_mid_call_says_try_again_and_a_new_server_serves() -> None:
    with FakeTriton(slow(30)) as first:
        port = first.port
        client = Client(first.url, timeout_s=20)
        errors: list[FacekitError] = []

        def call() -> None:
            try:
                client.detect(b"photo")
            except FacekitError as e:
                errors.append(e)

        thread = threading.Thread(target=call)
        thread.start()
        while not first.received:
            time.sleep(0.01)
        first.stop()
        thread.join()
        assert [type(e) for e in errors] == [ServerUnavailableError]
    with client, FakeTriton(port=port):
        # The same client finds the server that came back, and does not wait out gRPC's default
        # pause of up to two minutes.
        end = time.monotonic() + 15
        while not client.server_ready() and time.monotonic() < end:
            time.sleep(0.05)
        assert len(client.detect(b"photo")) == 2


def test_detect_on_a_port_that_speaks_http_names_the_likely_mistake() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            Client(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match="is this the HTTP port"),
        ):
            client.detect(b"photo")
        thread.join()


def test_server_ready_is_tritons_flag(fake: FakeTriton, client: Client) -> None:
    assert client.server_ready() is True
    fake.ready = False
    assert client.server_ready() is False


def test_closed_client_says_so(fake: FakeTriton) -> None:
    with Client(fake.url) as client:
        pass
    client.close()
    assert client.server_ready() is False
    with pytest.raises(ServerError, match="has been closed"):
        client.detect(b"photo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"url": "http://localhost:8000"},
            "host:port of the server's gRPC.*such as localhost:8001",
        ),
        ({"url": "grpc://[::1]:8001/"}, r"such as \[::1\]:8001; got grpc"),
        ({"url": ""}, "url: expected host:port"),
        ({"url": "a b:1"}, "url: expected host:port"),
        ({"url": "localhost"}, "url: expected host:port, such as localhost:8001; got 'localhost'"),
        ({"url": ":8001"}, "url: expected host:port"),
        ({"url": "localhost:"}, "url: expected host:port"),
        ({"url": "localhost:grpc"}, "url: expected host:port"),
        ({"url": "localhost:0"}, "url: expected host:port"),
        ({"url": "localhost:65536"}, "url: expected host:port"),
        ({"url": "::1:8001"}, r"an IPv6 address in brackets, such as \[::1\]:8001; got '::1:8001'"),
        ({"url": "[::1]"}, "url: expected host:port"),
        ({"timeout_s": 0}, "timeout_s: expected seconds > 0 and <= 86,400, got 0"),
        ({"timeout_s": float("nan")}, "timeout_s: expected seconds > 0 and <= 86,400, got nan"),
        ({"timeout_s": float("inf")}, "timeout_s: expected seconds > 0 and <= 86,400, got inf"),
        ({"timeout_s": 1e12}, "timeout_s: expected seconds > 0"),
        ({"timeout_s": 86_401}, "timeout_s: expected seconds > 0"),
        ({"root_certificates": "ca.pem"}, "root_certificates: needs ssl=True"),
        ({"ssl": True, "private_key": "no.pem"}, r"private_key: no\.pem: No such file"),
    ],
)
def test_client_wrong_option_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Client(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "example:1",
        "a-b.c_d:65535",
        "10.0.0.1:8001",
        "[::1]:8001",
        "[fe80::1%eth0]:8001",
        "unix:/tmp/triton.sock",
    ],
)
def test_client_names_its_server(url: str) -> None:
    with Client(url) as client:
        assert repr(client) == f"Client({url!r})"


def test_longest_time_of_a_call_leaves_it_time(fake: FakeTriton) -> None:
    with Client(fake.url, timeout_s=86_400) as client:
        assert len(client.detect(b"photo")) == 2


def test_a_name_with_several_addresses_spreads_the_calls() -> None:
    with FakeTriton() as one, FakeTriton() as other:
        arguments = Connection("triton-pods.facekit.svc:8001", 10).arguments()
        arguments["url"] = f"ipv4:127.0.0.1:{one.port},127.0.0.1:{other.port}"
        # An address of another machine would be asked through a proxy of the environment.
        arguments["channel_args"] += [("grpc.enable_http_proxy", 0)]
        triton = InferenceServerClient(**arguments)
        call = detect_call(np.zeros(8, np.uint8))
        for _ in range(10):
            triton.infer(call.model, call.inputs, client_timeout=10)
        triton.close()
        # The first ones may find only one of the two connected.
        assert min(len(one.received), len(other.received)) >= 2


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8001",
        f"{socket.gethostname()}:8001",
        "127.0.0.1:8001",
        "127.9.9.9:8001",
        "0.0.0.0:8001",
        "[::1]:8001",
        "[::]:8001",
        "unix:/tmp/triton.sock",
    ],
)
def test_on_this_machine(url: str) -> None:
    assert on_this_machine(url)


@pytest.mark.parametrize(
    "url",
    [
        "198.51.100.7:8001",
        "[2001:db8::7]:8001",
        "[fe80::7]:8001",
        "localhost.example:8001",
        "127.example:8001",
        "triton:8001",
    ],
)
def test_another_machine_is_not_this_one(url: str) -> None:
    assert not on_this_machine(url)


def test_own_address_is_on_this_machine() -> None:
    assert on_this_machine(f"{own_address()}:8001")


@pytest.mark.parametrize(
    "variable", ["http_proxy", "https_proxy", "grpc_proxy", "GRPC_ADDRESS_HTTP_PROXY"]
)
def test_own_address_is_called_past_a_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy, FakeTriton(host=own_address()) as fake:
        # gRPC's own variable wants no scheme, and which servers' addresses it holds for.
        bare = proxy.url.removeprefix("http://")
        monkeypatch.setenv(variable, bare if variable.startswith("GRPC") else proxy.url)
        monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "0.0.0.0/0")
        with Client(fake.url, timeout_s=10) as client:
            assert len(client.detect(b"photo")) == 2
        assert not proxy.asked


def test_another_machine_is_called_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with Client("198.51.100.7:8001", timeout_s=2) as client:
            assert not client.server_ready()
        assert proxy.asked[0].startswith("CONNECT 198.51.100.7:8001 ")
