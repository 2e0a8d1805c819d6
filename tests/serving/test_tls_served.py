"""An encrypted server, with certificates made by the ``openssl`` program."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from facekit.cli import main
from facekit.client import Client
from facekit.client.tls import certified_name
from facekit.data import probe_photo
from facekit.errors import ServerUnavailableError, SetupError
from facekit.serving import EmbeddedServer
from facekit.serving.health import check
from facekit.serving.tls import Tls
from tests.fake_triton import FakeTriton
from tests.serving.test_supervisor import Served
from tests.serving.tiny import tiny_repository
from tests.shared import shared

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")

CURVE = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates and keys, each a file NAME.pem and NAME.key."""
    folder = tmp_path_factory.mktemp("pem")
    own = f"req -x509 {CURVE} -subj /CN=ignored"
    names = "-addext subjectAltName"
    openssl(folder, f"{own} -days 2 {names}=DNS:faces.example -keyout good.key -out good.pem")
    openssl(folder, f"{own} -days 2 {names}=DNS:*.example -keyout wild.key -out wild.pem")
    openssl(folder, f"{own} -days 2 {names}=IP:10.1.2.3 -keyout ip.key -out ip.pem")
    openssl(folder, f"req -x509 {CURVE} -subj /CN=old -days 2 -keyout cn.key -out cn.pem")
    openssl(folder, f"req -x509 {CURVE} -subj / -days 2 -keyout bare.key -out bare.pem")
    # One that an authority signed, which is not in the file.
    openssl(folder, f"req -x509 {CURVE} -subj /CN=authority -days 2 -keyout ca.key -out ca.pem")
    openssl(folder, f"req {CURVE} -subj /CN=leaf -keyout leaf.key -out leaf.csr")
    (folder / "names").write_text("subjectAltName=DNS:leaf.example\n")
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out leaf.pem"
        " -extfile names",
    )
    openssl(
        folder,
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -out old.pem"
        " -extfile names",
    )
    return folder


def tls(pem: Path, name: str) -> Tls:
    return Tls(pem / f"{name}.pem", pem / f"{name}.key")


@pytest.fixture(scope="module")
def encrypted(pem: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    repository = tiny_repository(tmp_path_factory.mktemp("models"))
    with shared(EmbeddedServer(repository, tls=tls(pem, "good"))) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "certified"),
    [
        ("good", "faces.example"),
        ("wild", "any.example"),
        ("ip", "10.1.2.3"),
        ("cn", "old"),
        ("leaf", "leaf.example"),
    ],
)
def test_tls_name_is_one_that_grpc_accepts(pem: Path, name: str, certified: str) -> None:
    files = tls(pem, name)
    assert files.name() == certified

    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    with FakeTriton(credentials=grpc.ssl_server_credentials([pair])) as served:
        assert certified_name(served.url, files.certificate, 10) == certified
        with Client(served.url, tls_certificate=files.certificate) as client:
            assert client.server_ready()


def test_encrypted_server_refuses_plain_callers(encrypted: EmbeddedServer) -> None:
    with Client(encrypted.grpc_url, timeout_s=10) as client, pytest.raises(ServerUnavailableError):
        client.detect(probe_photo())


def test_detect_trusts_the_certificate_given(
    encrypted: EmbeddedServer, pem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(probe_photo())
    call = ["detect", str(photo), "--url", encrypted.grpc_url]

    assert main([*call, "--timeout", "5"]) == 2
    assert "or --tls-cert)" in capsys.readouterr().err
    assert main([*call, "--tls-cert", str(pem / "wild.pem")]) == 2
    assert f"is not trusted by {pem / 'wild.pem'}" in capsys.readouterr().err
    # The tiny `faces` of these tests answers in its own way: it was reached.
    main([*call, "--tls-cert", str(pem / "good.pem")])
    assert "photo.jpg" in capsys.readouterr().out


def test_status_trusts_the_certificate_given_and_no_other(
    encrypted: EmbeddedServer,
    pem: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = ["status", "--url", encrypted.grpc_url]
    assert main([*url, "--tls-cert", str(pem / "good.pem")]) == 0
    capsys.readouterr()

    assert main([*url, "--tls-cert", str(pem / "wild.pem")]) == 1
    assert f"is not trusted by {pem / 'wild.pem'}" in capsys.readouterr().out

    monkeypatch.setenv("FACEKIT_TLS_CERT", str(pem / "good.pem"))
    assert main(url) == 0


def test_status_of_a_plain_server_as_encrypted_says_so(
    tiny_server: EmbeddedServer, pem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = tiny_server.grpc_url
    assert main(["status", "--url", url, "--tls-cert", str(pem / "good.pem")]) == 1

    assert f"{url} is not encrypted" in capsys.readouterr().out


def test_status_with_a_missing_certificate_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--url", "127.0.0.1:9", "--tls-cert", str(tmp_path / "no.pem")]) == 2

    assert f"{tmp_path / 'no.pem'}: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("no.pem", "good.key", "no.pem cannot be read by user"),
        ("good.pem", "no.key", "no.key cannot be read by user"),
        ("good.pem", "wild.key", "good.pem and the key .*wild.key do not work together"),
        ("good.key", "good.key", "do not work together"),
        ("old.pem", "leaf.key", "old.pem is not valid: certificate has expired"),
        ("bare.pem", "bare.key", "bare.pem carries no name"),
    ],
)
def test_tls_with_files_that_do_not_work_is_refused(
    pem: Path, tmp_path: Path, certificate: str, key: str, words: str
) -> None:
    server = EmbeddedServer(
        tiny_repository(tmp_path / "models"), tls=Tls(pem / certificate, pem / key)
    )

    with pytest.raises(SetupError, match=words):
        server.start()


def test_encrypted_server_is_supervised(
    pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEKIT_TLS_CERT", str(pem / "good.pem"))
    monkeypatch.setenv("FACEKIT_TLS_KEY", str(pem / "good.key"))
    served = Served(tmp_path)
    try:
        assert served.ready(), served.said
        (served.folder / "faces" / "fail").touch()
        # Only an inference over the encrypted connection can tell.
        assert served.says("a real inference of faces failed"), served.said
        (served.folder / "faces" / "fail").unlink()
        assert served.ready(2), served.said
        assert check(served.url, tls_certificate=pem / "good.pem").ok
        assert served.finish() == 0
    finally:
        served.process.kill()
        served.process.wait()


def test_renewed_certificate_is_served_once_both_files_are_there(pem: Path, tmp_path: Path) -> None:
    files = Tls(tmp_path / "server.pem", tmp_path / "server.key")
    shutil.copy(pem / "good.pem", files.certificate)
    shutil.copy(pem / "good.key", files.key)
    served = Served(tmp_path, f"--tls-cert={files.certificate}", f"--tls-key={files.key}")
    try:
        assert served.ready(), served.said
        shutil.copy(pem / "ip.pem", files.certificate)
        # Not restarted with one half: it goes on serving the old ones.
        time.sleep(1)
        assert check(served.url, tls_certificate=pem / "good.pem").ok
        shutil.copy(pem / "ip.key", files.key)

        assert served.ready(2), served.said
        assert check(served.url, tls_certificate=pem / "ip.pem").ok
        assert served.said.count("the TLS certificate was renewed; the server is restarted") == 1
        assert served.said.count("restarted") == 1
        assert served.finish() == 0
    finally:
        served.process.kill()
        served.process.wait()


def test_serve_with_a_certificate_and_no_key_says_so(
    pem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--tls-cert", str(pem / "good.pem")]) == 2

    assert "--tls-cert is given and --tls-key is not" in capsys.readouterr().err
