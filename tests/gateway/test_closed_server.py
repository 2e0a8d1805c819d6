"""A server that lets in only callers with a token: over HTTP, gRPC, and Triton's own ports."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.cli import main
from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import ConfigError, SetupError
from facekit.gateway.access import new_token
from facekit.serving import EmbeddedServer, processes
from facekit.serving.gateway import GatewayProcess
from facekit.serving.health import check
from facekit.serving.limits import ProcessLimits
from facekit.serving.ports import choose_ports, listen
from tests.gateway.gateways import gateway
from tests.serving.certificates import self_signed
from tests.serving.tiny import tiny_repository
from tests.shared import shared


class Closed:
    """A closed server, and the token that opens it."""

    def __init__(self, server: EmbeddedServer, token: str) -> None:
        self.server = server
        self.token = token

    def http(self, path: str, token: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(f"http://{self.server.http_url}{path}")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("closed")
    token = new_token(folder / "tokens.txt", "ann")
    server = EmbeddedServer(
        tiny_repository(folder / "models"), http_port=0, tokens=folder / "tokens.txt"
    )
    with shared(server):
        yield Closed(server, token)


def test_http_asks_for_a_token(closed: Closed) -> None:
    assert closed.http("/v2/models/faces")[0] == 401
    assert closed.http("/v2/models/faces", "wrong")[0] == 401
    assert closed.http("/v1/status")[0] == 401
    status, text = closed.http("/v2/models/faces", closed.token)
    assert status == 200 and '"faces"' in text


def test_probes_and_the_page_are_open(closed: Closed) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/", "/page.js"):
        assert closed.http(path)[0] == 200


def test_grpc_asks_for_a_token(closed: Closed, monkeypatch: pytest.MonkeyPatch) -> None:
    url = closed.server.grpc_url
    with Client(url) as client:
        assert client.server_ready()
        with pytest.raises(ConfigError, match=r"only callers with a token \(FACEKIT_TOKEN\)"):
            client.detect(probe_photo())
    with Client(url, token=closed.token) as client:
        assert len(client.detect(probe_photo())) == 2
    monkeypatch.setenv("FACEKIT_TOKEN", closed.token)
    with Client(url) as client:
        assert len(client.detect(probe_photo())) == 2


def test_caller_without_a_token_is_refused_before_its_message_is_read(closed: Closed) -> None:
    sent = threading.Event()

    def message() -> Iterator[bytes]:
        sent.wait(60)
        yield b""

    with grpc.insecure_channel(closed.server.grpc_url) as channel:
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="this server asks for a token"):
            call(message(), timeout=30)
        sent.set()


def test_gateway_passes_grpc_on_to_a_server_that_answers(closed: Closed, tmp_path: Path) -> None:
    token = new_token(tmp_path / "tokens.txt", "ben")
    for urls, works in (("127.0.0.1:1", False), (f"127.0.0.1:1,{closed.server.grpc_url}", True)):
        port = choose_ports("127.0.0.1", {"--grpc-port": 0})["--grpc-port"]
        options = ("--tokens", str(tmp_path / "tokens.txt"), "--grpc-port", str(port))
        # As the token of the gateway itself, where the servers behind it ask for one.
        environment = {**os.environ, "FACEKIT_TOKEN": closed.token}
        with (
            gateway("--url", urls, *options, environment=environment) as http,
            InferenceServerClient(f"127.0.0.1:{port}") as client,
        ):
            headers = {"Authorization": f"Bearer {token}"}
            answer = requests.get(f"{http}/v2/models/faces", headers=headers, timeout=30)
            assert answer.ok == works
            if works:
                sent = {"authorization": headers["Authorization"]}
                assert client.get_model_metadata("faces", headers=sent).name == "faces"
                continue
            with pytest.raises(InferenceServerException, match="the server is away") as caught:
                client.is_server_live()
            # Where servers listen is nothing for callers.
            assert "127.0.0.1" not in f"{caught.value} {answer.text}"


def test_gateway_without_tokens_or_a_free_port_has_no_grpc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "--grpc-port", "0"]) == 2
    assert "--grpc-port: only with --tokens" in capsys.readouterr().err
    new_token(tmp_path / "tokens.txt", "ann")
    with listen("127.0.0.1", 0, "") as taken:
        port = str(taken.getsockname()[1])
        options = ["--tokens", str(tmp_path / "tokens.txt"), "--grpc-port", port]
        assert main(["gateway", "--http-port", "0", *options]) == 2
    assert f"Cannot listen on 127.0.0.1:{port} (--grpc-port)" in capsys.readouterr().err


def test_proxy_is_trusted_by_its_ipv4_address_where_the_gateway_listens_on_both(
    tmp_path: Path,
) -> None:
    try:
        listen("::", 0, "").close()
    except SetupError:
        pytest.skip("no IPv6 here")
    options = ("--address", "::", "--trusted-proxies", "127.0.0.1", "--rate", "0.01")
    with gateway(*options) as url:
        statuses = [
            requests.get(f"{url}/v1", headers={"X-Forwarded-For": client}, timeout=30).status_code
            for client in ("10.0.0.1", "10.0.0.2", "10.0.0.2")
        ]
    assert statuses == [404, 404, 429]


def test_gateway_of_a_server_takes_only_the_servers_own_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FACEKIT_TLS_CERT", "FACEKIT_TLS_KEY", "FACEKIT_TOKENS", "FACEKIT_COLOR"):
        monkeypatch.setenv(name, "x")
    given: list[dict[str, str]] = []
    monkeypatch.setattr(processes, "spawn", lambda *arguments: given.append(arguments[1]))

    GatewayProcess([], {"FACEKIT_SERVER_SECRET": "secret"}, ProcessLimits(0, 0)).start()

    names = {name for name in given[0] if name.startswith("FACEKIT_")}
    assert names == {"FACEKIT_COLOR", "FACEKIT_SERVER_SECRET"}


def test_error_of_a_model_comes_through_as_it_is(closed: Closed) -> None:
    metadata = {"authorization": f"Bearer {closed.token}"}
    with InferenceServerClient(closed.server.grpc_url) as client:
        with pytest.raises(InferenceServerException, match="unknown model: 'nothing'") as caught:
            client.get_model_metadata("nothing", headers=metadata)
        assert caught.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize(
    "call",
    [
        lambda client, headers: client.get_model_repository_index(headers=headers),
        lambda client, headers: client.unload_model("faces", headers=headers),
        lambda client, headers: client.get_system_shared_memory_status(headers=headers),
        lambda client, headers: client.get_trace_settings(headers=headers),
        lambda client, headers: client.update_log_settings({}, headers=headers),
    ],
)
def test_what_is_no_inference_does_not_exist_even_with_a_token(
    closed: Closed, call: object
) -> None:
    assert callable(call)
    with (
        InferenceServerClient(closed.server.grpc_url) as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        call(client, {"authorization": f"Bearer {closed.token}"})
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_tritons_own_port_is_on_this_machine_and_refuses_who_does_not_know_its_secret(
    closed: Closed,
) -> None:
    connection = closed.server.connection(10)
    assert connection.url != closed.server.grpc_url
    assert connection.url.startswith("127.0.0.1:")
    with (
        InferenceServerClient(connection.url) as client,
        pytest.raises(InferenceServerException, match="protocol is restricted"),
    ):
        client.get_model_metadata("faces")
    assert not check(connection.url).ok


def test_status_of_the_servers_own_user_needs_no_token(
    closed: Closed, capsys: pytest.CaptureFixture[str]
) -> None:
    url = closed.server.grpc_url
    assert main(["status", "--url", url]) == 0, capsys.readouterr().out
    assert not check(url).ok


def test_metrics_are_tritons_and_the_gateways(closed: Closed) -> None:
    with urllib.request.urlopen(closed.server.metrics_url, timeout=30) as page:
        text = page.read().decode()
    assert text.startswith("# Triton's own metrics\n")
    assert "nv_inference_request_success" in text
    assert 'facekit_http_refused_total{reason="token"}' in text
    port = int(closed.server.metrics_url.split(":")[2].split("/")[0])
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/faces", timeout=30)


def test_tokens_without_a_gateway_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="tokens: only with an http_port"):
        EmbeddedServer(tmp_path, tokens=tmp_path / "tokens.txt")


def test_serve_with_a_missing_file_of_tokens_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--tokens", str(tmp_path / "no.txt")]) == 2
    assert "no such file; make one with: facekit token" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_certificate_encrypts_http_metrics_and_grpc_with_tokens(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "127.0.0.1")
    token = new_token(tmp_path / "tokens.txt", "ann")
    trusting = ssl.create_default_context(cafile=str(tls.certificate))
    server = EmbeddedServer(
        tiny_repository(tmp_path / "models"),
        http_port=0,
        tls=tls,
        tokens=tmp_path / "tokens.txt",
    )
    with server:
        for url in (f"https://{server.http_url}/v2/health/ready", server.metrics_url):
            with urllib.request.urlopen(url, timeout=30, context=trusting) as answer:
                assert answer.status == 200
        # An upper bound: the handshake's is 10 s, and asyncio's own 60.
        with socket.create_connection(_pair(server.http_url), timeout=30) as idle:
            assert idle.recv(1) == b""
        with socket.create_connection(_pair(server.http_url), timeout=30) as plain:
            plain.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not plain.recv(64).startswith(b"HTTP/1.1 200")
        with Client(server.grpc_url, tls_certificate=tls.certificate, token=token) as client:
            assert len(client.detect(probe_photo())) == 2
        channel = grpc.insecure_channel(server.grpc_url)
        with pytest.raises(grpc.FutureTimeoutError), channel:
            grpc.channel_ready_future(channel).result(timeout=2)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_gateway_reaches_an_encrypted_server_whose_grpc_is_published(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(tls.certificate))
    with EmbeddedServer(tiny_repository(tmp_path / "models"), http_port=0, tls=tls) as server:
        url = f"https://{server.http_url}/v2/models/faces"
        with urllib.request.urlopen(url, timeout=30, context=trusting) as answer:
            assert answer.status == 200


def _pair(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition(":")
    return host, int(port)
