"""A small web server that plays NVIDIA's NGC, with its faults; standard library only.

``python -m tests.fakes.ngc_server --files DIR [--port 0] [--scenario NAME | --script FILE]`` prints
one line of JSON (``{"url": ..., "storage": ...}``) and serves until it is stopped. ``DIR`` has the
layout that NGC's command line leaves: ``facenet_vpruned_quantized_v2.0.1/model.etlt``. In a test:
``with NgcServer(files) as ngc: ... ngc.url ... ngc.requests``.

Two listeners play the two hosts: the API answers with a redirect to the storage, as NGC does, and
the storage refuses a request that still carries the key, as S3 does.

What a script holds, and those that have a name: ``ngc_scenarios.py``.
"""

from __future__ import annotations

import argparse
import json
import signal
import ssl
import sys
import threading
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.fakes.ngc_answers import Listener
from tests.fakes.ngc_scenarios import SCENARIOS, Script


class NgcServer:
    """The two listeners.

    Args:
        files: what can be downloaded.
        script: which faults to play; may be replaced while it runs.
        host: where to listen.
        port: the API's port; 0 for any free one.
        log: append every request to this file, one line of JSON each.
        certificate: a PEM file with key and certificate; the API then speaks TLS, the storage not.
    """

    def __init__(
        self,
        files: Path,
        script: Script | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        storage_port: int = 0,
        log: Path | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.files = files
        self.requests: list[dict[str, Any]] = []
        self._log = log
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._script: Script = {}
        self._left: list[int | None] = []
        self.script = script or {}
        self._api = Listener((host, port), self, "api")
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is left to each connection's own thread.
            self._api.socket = context.wrap_socket(
                self._api.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._storage = Listener((host, storage_port), self, "storage")
        self._threads = [
            threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
            for listener in (self._api, self._storage)
        ]

    @property
    def script(self) -> Script:
        """The script that is played; setting it makes every ``times`` count anew."""
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        with self._lock:
            self._script = script
            self._left = [rule.get("times") for rule in script.get("rules", [])]

    @property
    def port(self) -> int:
        """The API's port."""
        return int(self._api.server_address[1])

    @property
    def storage_port(self) -> int:
        """The storage's port."""
        return int(self._storage.server_address[1])

    @property
    def url(self) -> str:
        """The API's address, as FACEKIT_NGC_URL wants it."""
        return f"{self._scheme}://{str(self._api.server_address[0])}:{self.port}"

    def start(self) -> NgcServer:
        """Serve in the background."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End at once, stalled answers too."""
        self._stopping.set()
        for listener in (self._api, self._storage):
            listener.shutdown()
            listener.server_close()

    def __enter__(self) -> NgcServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self, seconds: float) -> None:
        """Wait, or until the server stops."""
        self._stopping.wait(seconds)

    def note(self, role: str, path: str, headers: dict[str, str]) -> None:
        """Keep a request."""
        entry = {"on": role, "path": path, "headers": headers}
        with self._lock:
            self.requests.append(entry)
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")

    def rule(self, role: str, path: str) -> dict[str, Any]:
        """Return the rule for a request, and count it."""
        with self._lock:
            for index, rule in enumerate(self._script.get("rules", [])):
                if rule.get("on", role) != role or not fnmatch(path, rule["path"]):
                    continue
                left = self._left[index]
                if left == 0:
                    continue
                if left is not None:
                    self._left[index] = left - 1
                return dict(rule)
        return {}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.ngc_server")
    parser.add_argument("--files", type=Path, required=True, metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--storage-port", type=int, default=0)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="ok")
    parser.add_argument("--script", type=Path, metavar="FILE", help="JSON; instead of --scenario")
    parser.add_argument("--log", type=Path, metavar="FILE", help="one line of JSON per request")
    args = parser.parse_args(argv)
    script = json.loads(args.script.read_text()) if args.script else SCENARIOS[args.scenario]
    server = NgcServer(
        args.files,
        script,
        host=args.host,
        port=args.port,
        storage_port=args.storage_port,
        log=args.log,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server:
        line = {"url": server.url, "port": server.port, "storage_port": server.storage_port}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
