"""Encrypted connections, with a throw-away authority made by the ``openssl`` program."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit import AsyncClient, Client, ConfigError, ServerUnavailableError
from facekit.client.connection import Connection
from tests.fake_triton import FakeTriton

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a key and a certificate that trusts itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        " -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(params=[False, True], ids=["server", "mutual"])
def secure(pem: Path, request: pytest.FixtureRequest) -> Iterator[tuple[FakeTriton, bool]]:
    key, cert = (pem / "key.pem").read_bytes(), (pem / "cert.pem").read_bytes()
    credentials = grpc.ssl_server_credentials(
        [(key, cert)],
        root_certificates=cert if request.param else None,
        require_client_auth=request.param,
    )
    with FakeTriton(credentials=credentials) as fake:
        yield fake, request.param


def test_encrypted_calls_work_with_the_right_files(
    secure: tuple[FakeTriton, bool], pem: Path
) -> None:
    fake, mutual = secure
    own = (
        {"private_key": pem / "key.pem", "certificate_chain": str(pem / "cert.pem")}
        if mutual
        else {}
    )
    with Client(fake.url, ssl=True, root_certificates=pem / "cert.pem", **own) as client:
        assert len(client.detect(b"photo")) == 2

    async def work() -> int:
        async with AsyncClient(
            fake.url, ssl=True, root_certificates=pem / "cert.pem", **own
        ) as twin:
            return len(await twin.detect(b"photo"))

    assert asyncio.run(work()) == 2


def test_certificate_of_another_name_needs_that_name(
    secure: tuple[FakeTriton, bool], pem: Path
) -> None:
    fake, mutual = secure
    own = (pem / "key.pem", pem / "cert.pem") if mutual else (None, None)
    # The certificate is for localhost and 127.0.0.1.
    right, wrong = (
        Connection(fake.url, 10, True, pem / "cert.pem", *own, server_name=name).arguments()
        for name in ("localhost", "elsewhere.example")
    )

    with InferenceServerClient(**right) as client:
        assert client.is_server_ready()
    with (
        InferenceServerClient(**wrong) as client,
        pytest.raises(InferenceServerException, match="Hostname Verification Check failed"),
    ):
        client.is_server_ready()


def test_server_name_without_ssl_is_refused() -> None:
    with pytest.raises(ConfigError, match="server_name: needs ssl=True"):
        Connection("localhost:8001", 5, server_name="localhost")


def test_unencrypted_call_to_an_encrypted_port_fails_with_a_hint(
    secure: tuple[FakeTriton, bool],
) -> None:
    fake, _ = secure
    with (
        Client(fake.url, timeout_s=10) as client,
        pytest.raises(ServerUnavailableError, match="does the server need ssl"),
    ):
        client.detect(b"photo")


def test_server_that_is_not_trusted_is_refused(secure: tuple[FakeTriton, bool]) -> None:
    fake, _ = secure
    with Client(fake.url, ssl=True, timeout_s=10) as client, pytest.raises(ServerUnavailableError):
        client.detect(b"photo")


def test_folder_in_place_of_a_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="root_certificates: .*: Is a directory"):
        Client(ssl=True, root_certificates=tmp_path)


def test_the_pinned_certificate_is_trusted_whatever_name_it_carries(
    secure: tuple[FakeTriton, bool], pem: Path, tmp_path: Path
) -> None:
    fake, mutual = secure
    if mutual:  # such a server asks for a certificate of the client too
        return
    with Client(fake.url, tls_certificate=pem / "cert.pem") as client:
        client.check_ready()
        assert len(client.detect(b"photo")) == 2

    async def work() -> int:
        async with AsyncClient(fake.url, tls_certificate=pem / "cert.pem") as twin:
            await twin.check_ready()
            return len(await twin.detect(b"photo"))

    assert asyncio.run(work()) == 2


def test_another_certificate_than_the_pinned_one_is_refused(pem: Path) -> None:
    with FakeTriton() as plain, Client(plain.url, tls_certificate=pem / "cert.pem") as client:
        assert not client.server_ready()
        with pytest.raises(ServerUnavailableError, match="is not encrypted"):
            client.check_ready()
        with pytest.raises(ServerUnavailableError, match="is not encrypted"):
            client.detect(b"photo")


def test_a_pinned_certificate_goes_with_no_other_option(pem: Path) -> None:
    with pytest.raises(ConfigError, match="tls_certificate: needs host:port, and no other"):
        Client(ssl=True, tls_certificate=pem / "cert.pem")
    with pytest.raises(ConfigError, match="tls_certificate: gone: No such file"):
        Client(tls_certificate="gone")
