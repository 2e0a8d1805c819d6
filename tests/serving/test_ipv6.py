"""Servers that listen on IPv6 addresses."""

from __future__ import annotations

import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from facekit.cli import main
from facekit.client import Client
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer
from facekit.serving.health import Prober, check
from facekit.serving.starting import answers_ready
from tests.addresses import has_ipv6
from tests.serving.certificates import self_signed
from tests.serving.tiny import tiny_repository

pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture(params=["::1", "::"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tiny_repository(tmp_path), address=request.param, http_port=0) as server:
        yield server


def test_every_front_end_answers_over_ipv6(
    server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(server.grpc_url, timeout_s=10) as client:
        assert len(client.detect(probe_photo())) == 2
    assert server.grpc_url.startswith("[::1]:")
    assert main(["status", "--url", server.grpc_url]) == 0
    assert f"{server.grpc_url} works." in capsys.readouterr().out
    assert answers_ready(server.connection(10))
    assert server.http_url.startswith("[::1]:")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(server.metrics_url, timeout=10) as page:
        assert b"nv_inference_request_success" in page.read()


@pytest.mark.parametrize(("address", "every"), [("::1", False), ("::", True)])
def test_a_server_on_every_address_answers_over_ipv4_too(
    address: str, every: bool, tmp_path: Path
) -> None:
    with EmbeddedServer(tiny_repository(tmp_path), address=address, http_port=0) as server:
        grpc, http = (url.rpartition(":")[2] for url in (server.grpc_url, server.http_url))
        assert check(f"127.0.0.1:{grpc}", timeout_s=5).ok is every
        with socket.socket() as caller:
            assert (caller.connect_ex(("127.0.0.1", int(http))) == 0) is every


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_certificate_of_an_ipv6_address_alone_is_trusted(tmp_path: Path) -> None:
    tls = self_signed(tmp_path, "::1")
    repository = tiny_repository(tmp_path / "models")
    with EmbeddedServer(repository, address="::1", tls=tls) as server:
        assert check(server.grpc_url, tls_certificate=tls.certificate).ok
        with Prober(server.connection(10)) as prober:
            assert prober.check().ok
        # Who calls the address itself needs no other name.
        with Client(server.grpc_url, ssl=True, root_certificates=tls.certificate) as client:
            assert client.server_ready()
