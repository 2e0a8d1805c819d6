"""Photos in a bucket, through a server of S3's interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import grpc
import numpy as np
import pytest

from tests.fake_triton import FakeTriton, Inputs, faces_answer

# scripts/test-workflow installs it into an environment of its own, beside this one.
_MOTO = shutil.which("moto_server") or f"{sys.prefix}-s3/bin/moto_server"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not Path(_MOTO).exists(), reason="moto is not installed"),
]


def answer(model: str, inputs: Inputs, context: grpc.ServicerContext) -> dict[str, np.ndarray]:
    return faces_answer(int(inputs["image"].reshape(-1)[-1]) % 4)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start the server; what makes its callers find it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "anybody",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "no_proxy": "127.0.0.1",
    }
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            [_MOTO, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < end, (tmp_path / "moto.log").read_text()
                time.sleep(0.1)
        yield {**os.environ, **variables}
    finally:
        server.terminate()
        server.wait()


def put(endpoint: str, path: str, data: bytes = b"") -> None:
    request = urllib.request.Request(
        f"{endpoint}/{quote(path)}", data, {"Content-Type": "image/jpeg"}, method="PUT"
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_photos_of_a_bucket_and_a_disk(environment: dict[str, str], tmp_path: Path) -> None:
    endpoint = environment["AWS_ENDPOINT_URL"]
    put(endpoint, "holidays")
    # A key is no part of an address in which anything is decoded.
    keys = [f"a b/%20 {number:02}.jpg" for number in range(30)]
    for number, key in enumerate(keys):
        put(endpoint, f"holidays/{key}", b"photo" + bytes([number]))
    beside = tmp_path / "here.jpg"
    beside.write_bytes(b"photo" + bytes([1]))
    names = [*(f"s3://holidays/{key}" for key in keys), f"file://{beside}"]
    missing = ["s3://holidays/none.jpg", f"file://{tmp_path}/none.jpg", f"file://{tmp_path}"]
    listed = tmp_path / "list.txt"
    lines = ["# holidays", "", *names, names[0], "   ", *missing, f"{beside.as_uri()}\r"]
    listed.write_text("\n".join(lines), newline="")
    coco = tmp_path / "out.json"
    with FakeTriton(answer) as server:
        words = ["annotate", str(listed), "--coco", str(coco), "--url", server.url]
        done = subprocess.run(
            [sys.executable, "-m", "facekit.cli", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert len(server.received) == len(names)
    assert done.returncode == 1, done.stderr
    failures = coco.with_name("out.failures.jsonl").read_text()
    assert all(f'"{name}"' in failures for name in missing)
    assert failures.count("\n") == len(missing)
    assert all(name.encode() in coco.read_bytes() for name in names)
