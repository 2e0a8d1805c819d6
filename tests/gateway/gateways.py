"""Gateways in processes of their own, as ``facekit gateway`` starts them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import requests

from facekit.serving.ports import choose_ports

_START_S = 60.0


@contextlib.contextmanager
def gateway(*options: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run a gateway with these options at a free port of loopback meanwhile; yield its URL."""
    port = choose_ports("127.0.0.1", {"--http-port": 0})["--http-port"]
    command = [sys.executable, "-m", "facekit.cli", "gateway", "--http-port", str(port), *options]
    with subprocess.Popen(command, env=environment) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_answer(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


def wait_for_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a gateway answers; fails the test if it ends before."""
    end = time.monotonic() + _START_S
    while True:
        try:
            requests.get(url, timeout=_START_S)
            return
        except requests.ConnectionError:
            assert process.poll() is None, "the gateway ended at its start"
            assert time.monotonic() < end, "the gateway does not answer"
            time.sleep(0.1)
