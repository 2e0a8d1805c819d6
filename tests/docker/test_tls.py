"""TLS for gRPC, switched on by two variables of ``.env``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facekit import Client
from facekit.errors import ServerUnavailableError
from tests.docker import engine
from tests.docker.engine import Compose

SERVICE = "triton-cpu"
# User and group of the server in its image.
SERVER_ID = 10001


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for another name than the health check calls, and its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "server.crt", folder / "server.key"
    names = "subjectAltName=DNS:faces.example,IP:127.0.0.1"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    what = ["-subj", "/CN=faces.example", "-addext", names]
    files = ["-keyout", str(key), "-out", str(certificate)]
    engine.output_of(["openssl", "req", "-x509", *kind, *what, *files])
    folder.chmod(0o755)
    os.chown(key, SERVER_ID, SERVER_ID)
    key.chmod(0o400)
    return certificate


@pytest.fixture(scope="module")
def compose(
    cpu_image: str, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compose]:
    """The service with TLS; a server whose health check could not trust it never gets healthy."""
    models = engine.copy_repository(tmp_path_factory.mktemp("tls-models") / "models")
    env = {
        "FACEKIT_CPU_IMAGE": cpu_image,
        "FACEKIT_MODEL_REPOSITORY": str(models),
        "FACEKIT_TLS_DIR": str(certificate.parent),
        "FACEKIT_TLS_CERT": "/tls/server.crt",
        "FACEKIT_TLS_KEY": "/tls/server.key",
    }
    with engine.project(env) as project:
        project("--profile", "cpu", "up", "--detach", SERVICE)
        project.wait_healthy(SERVICE)
        yield project


def test_client_that_trusts_the_certificate_is_answered(
    compose: Compose, certificate: Path, photo: np.ndarray
) -> None:
    url = compose.grpc_url
    with Client(url, timeout_s=20, ssl=True, root_certificates=certificate) as client:
        assert len(client.detect(photo)) == 1


def test_client_without_tls_is_refused(compose: Compose, photo: np.ndarray) -> None:
    with Client(compose.grpc_url, timeout_s=5) as client, pytest.raises(ServerUnavailableError):
        client.detect(photo)


def test_server_is_healthy_by_inferences_over_tls(compose: Compose) -> None:
    container = compose.container(SERVICE)
    last = engine.inspect(container)["State"]["Health"]["Log"][-1]
    assert last["ExitCode"] == 0
    assert "faces " in last["Output"]


def test_key_that_the_server_may_not_read_is_named(
    cpu_image: str, certificate: Path, tmp_path: Path
) -> None:
    for file in (certificate, certificate.with_suffix(".key")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tmp_path.chmod(0o755)
    (tmp_path / "server.key").chmod(0o400)
    variables = ["--env=FACEKIT_TLS_CERT=/tls/server.crt", "--env=FACEKIT_TLS_KEY=/tls/server.key"]
    models = f"--volume={engine.ROOT / 'model_repository'}:/models:ro"
    mounts = [models, f"--volume={tmp_path}:/tls:ro", "--shm-size=3g"]
    done = engine.run(["docker", "run", "--rm", *variables, *mounts, cpu_image], timeout_s=120)
    assert done.returncode == 2
    assert "/tls/server.key cannot be read by user 10001: Permission denied" in done.stderr
