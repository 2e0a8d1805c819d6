"""A gateway with limits of its own: ``python -m tests.gateway.limited URL PORT LIMITS``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from facekit.gateway.server import serve
from facekit.gateway.settings import GatewayLimits, GatewaySettings
from facekit.serving.ports import choose_ports, listen
from tests.gateway.gateways import wait_for_answer


@contextlib.contextmanager
def limited_gateway(grpc_url: str, limits: GatewayLimits) -> Iterator[tuple[int, int]]:
    """Run a gateway with these limits meanwhile; yield its port and its process id."""
    port = choose_ports("127.0.0.1", {"--http-port": 0})["--http-port"]
    given = json.dumps(vars(limits))
    command = [sys.executable, "-m", "tests.gateway.limited", grpc_url, str(port), given]
    with subprocess.Popen(command) as process:
        try:
            wait_for_answer(f"http://127.0.0.1:{port}", process)
            yield port, process.pid
            assert process.poll() is None, "the gateway ended"
        finally:
            process.terminate()
            process.wait()


def main(grpc_url: str, port: str, limits: str) -> None:
    """Serve until a signal."""
    settings = GatewaySettings(urls=(grpc_url,), limits=GatewayLimits(**json.loads(limits)))
    listener = listen("127.0.0.1", int(port), "--http-port")
    serve(settings, listener, None, lambda line: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
