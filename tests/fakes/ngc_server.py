"""A small web server that plays NVIDIA's NGC, with its faults; standard library only.

``python -m tests.fakes.ngc_server --files DIR [--port 0] [--scenario NAME | --script FILE]`` prints
one line of JSON (``{"url": ..., "storage": ...}``) and serves until it is stopped. ``DIR`` has the
layout that NGC's command line leaves: ``facenet_vpruned_quantized_v2.0.1/model.etlt``. In a test:
``with NgcServer(files) as ngc: ... ngc.url ... ngc.requests``.

Two listeners play the two hosts: the API answers with a redirect to the storage, as NGC does, and
the storage refuses a request that still carries the key, as S3 does.

A script is a dict (``--script`` reads it from JSON)::

    {
        "key": "nvapi-secret",  # wanted by the API; left out: none is wanted
        "legacy_key": "bGVnYWN5",  # good for a token at /token only
        "locked": ["*fpenet*"],  # which paths want the key (all of them when left out)
        "redirect": true,  # false: the API sends the files itself
        "rules": [{"path": "*model.etlt", "times": 1, "status": 503}],
    }

The first rule that fits a request and has ``times`` left is used (left out: for ever). Its keys:

- ``path``: which paths, with ``*``; ``on``: ``"api"`` or ``"storage"`` (both when left out)
- ``status``, ``headers``, ``body``: this answer instead of the file
- ``redirect``: to this URL
- ``cut_after``: end the connection after so many bytes of the body; ``reset``: by a TCP reset
- ``stall_after``: send nothing more after so many bytes of the body, for ``stall_s`` seconds
- ``bytes_per_second``: a trickle
- ``corrupt``: one wrong byte in the middle of the file
- ``ignore_range``: the whole file whatever was asked for; ``etag``: another file each time;
  ``no_etag``: nothing tells one version of the file from another
- ``length_add``: the length announced is wrong by so much; ``no_length``: none is announced
- ``chunked``: chunks in place of a length
- ``content_type``
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Script = dict[str, Any]

KEY = "nvapi-of-the-tests-0123456789"
LEGACY_KEY = "bGVnYWN5LW9mLXRoZS10ZXN0cw"
SESSION_TOKEN = "session-token-of-the-tests"
SIGNATURE = "X-Amz-Signature=signature-of-the-tests"

_ETLT = "*model.etlt"
SCENARIOS: dict[str, Script] = {
    "ok": {},
    "direct": {"redirect": False},
    "locked": {"key": KEY},
    "locked-legacy": {"legacy_key": LEGACY_KEY},
    "forbidden": {"rules": [{"path": _ETLT, "status": 403, "body": "terms not accepted"}]},
    "missing": {"rules": [{"path": _ETLT, "status": 404, "body": "no such version"}]},
    "busy": {
        "rules": [{"path": _ETLT, "times": 2, "status": 429, "headers": {"Retry-After": "1"}}]
    },
    "busy-for-ever": {"rules": [{"path": _ETLT, "status": 429, "headers": {"Retry-After": "1"}}]},
    "ailing": {"rules": [{"path": _ETLT, "times": 2, "status": 503, "body": "come again"}]},
    "broken": {"rules": [{"path": _ETLT, "status": 500, "body": "broken"}]},
    "cut-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000}]},
    "cut-always": {"rules": [{"path": _ETLT, "on": "storage", "cut_after": 0}]},
    "reset-once": {
        "rules": [{"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000, "reset": True}]
    },
    "corrupt-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "corrupt": True}]},
    "corrupt": {"rules": [{"path": _ETLT, "on": "storage", "corrupt": True}]},
    "trickle": {"rules": [{"path": _ETLT, "on": "storage", "bytes_per_second": 2000}]},
    "stall-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "stall_after": 1000}]},
    "no-resume": {
        "rules": [
            {"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000},
            {"path": _ETLT, "on": "storage", "ignore_range": True},
        ]
    },
    "wrong-length": {"rules": [{"path": _ETLT, "on": "storage", "length_add": 100}]},
    "sign-in-page": {
        "rules": [
            {
                "path": _ETLT,
                "status": 200,
                "content_type": "text/html",
                "body": "<html><head><title>Sign in</title></head></html>",
            }
        ]
    },
}
"""Scripts by name, for ``--scenario`` and for tests."""

_API = re.compile(
    r"/v2/(?:models|resources)/(?P<org>[^/]+)/(?P<team>[^/]+)/(?P<name>[^/]+)"
    r"/versions/(?P<version>[^/]+)/files/(?P<file>[^/]+)"
)
_NEWER_API = re.compile(
    r"/v2/(?:models|resources)/org/(?P<org>[^/]+)/team/(?P<team>[^/]+)/(?P<name>[^/]+)"
    r"/(?P<version>[^/]+)/files"
)
_PIECE = 16384


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
        self._api = _Listener((host, port), self, "api")
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is left to each connection's own thread.
            self._api.socket = context.wrap_socket(
                self._api.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._storage = _Listener((host, storage_port), self, "storage")
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


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # A client that was killed must not make the end of a test wait for its thread.
    block_on_close = False

    def __init__(self, address: tuple[str, int], server: NgcServer, role: str) -> None:
        self.ngc, self.role = server, role
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the play; anything else is an error of this file."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def end_headers(self) -> None:
        self.send_header("Connection", "close")
        super().end_headers()

    def do_GET(self) -> None:
        self.close_connection = True
        ngc, role = self.server.ngc, self.server.role
        ngc.note(role, self.path, dict(self.headers.items()))
        # Newer URLs name the file in the query; rules see it as part of the path.
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        path = "/".join([unquote(address.path), *query.get("path", [])])
        if role == "api" and address.path == "/token":
            return self._send_token()
        rule = ngc.rule(role, path)
        if "status" in rule:
            return self._send_text(rule["status"], rule.get("body", ""), rule)
        if "redirect" in rule:
            return self._send_redirect(rule["redirect"])
        if role == "storage":
            if "Authorization" in self.headers:
                return self._send_text(400, "Only one auth mechanism allowed", {})
            return self._send_file(ngc.files / path.removeprefix("/storage/"), rule)
        return self._send_from_api(address.path, query, path, rule)

    def _send_from_api(
        self, raw: str, query: dict[str, list[str]], path: str, rule: dict[str, Any]
    ) -> None:
        script = self.server.ngc.script
        wanted = [script[name] for name in ("key",) if name in script]
        if "legacy_key" in script:
            wanted.append(SESSION_TOKEN)
        if wanted and any(fnmatch(path, glob) for glob in script.get("locked", ["*"])):
            given = self.headers.get("Authorization")
            if given is None:
                return self._send_error_json(401, "UNAUTHORIZED", "Authentication is required")
            if given not in [f"Bearer {key}" for key in wanted]:
                return self._send_error_json(403, "FORBIDDEN", "The key is not valid for this")
        match = _API.fullmatch(raw) or _NEWER_API.fullmatch(raw)
        if match is None:
            return self._send_error_json(404, "NOT_FOUND", "No such route")
        parts = {name: unquote(text) for name, text in match.groupdict().items()}
        name = parts.get("file") or query["path"][0]
        folders = [f"{parts['name']}_v{parts['version']}", f"{parts['name']}_{parts['version']}"]
        for folder in folders:
            file = self.server.ngc.files / folder / name
            if file.is_file():
                break
        else:
            return self._send_error_json(404, "NOT_FOUND", f"{name} not found in {folders[0]}")
        if not script.get("redirect", True):
            return self._send_file(file, rule)
        host = self.headers["Host"].rsplit(":", 1)[0]
        return self._send_redirect(
            f"http://{host}:{self.server.ngc.storage_port}/storage/{folder}/{name}?{SIGNATURE}"
        )

    def _send_token(self) -> None:
        legacy = self.server.ngc.script.get("legacy_key")
        basic = base64.b64encode(f"$oauthtoken:{legacy}".encode()).decode()
        if legacy is None or self.headers.get("Authorization") != f"Basic {basic}":
            return self._send_error_json(401, "UNAUTHORIZED", "Invalid API key")
        self._send_text(200, json.dumps({"token": SESSION_TOKEN, "expires_in": 600}), {})

    def _send_error_json(self, status: int, code: str, description: str) -> None:
        body = {"requestStatus": {"statusCode": code, "statusDescription": description}}
        self._send_text(status, json.dumps(body), {"content_type": "application/json"})

    def _send_redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_text(self, status: int, text: str, rule: dict[str, Any]) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", rule.get("content_type", "text/plain"))
        self.send_header("Content-Length", str(len(body)))
        for name, value in rule.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, path: Path, rule: dict[str, Any]) -> None:
        if not path.is_file():
            return self._send_text(404, "no such object", {})
        content = path.read_bytes()
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if rule.get("etag"):
            etag = f'"{time.monotonic_ns()}"'
        first = 0 if rule.get("ignore_range") else self._first_byte(etag)
        if first is not None and first > 0 and first >= len(content):
            rule = {"headers": {"Content-Range": f"bytes */{len(content)}"}}
            return self._send_text(416, "range not satisfiable", rule)
        if rule.get("corrupt") and content:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        body = content[first or 0 :]
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", rule.get("content_type", "application/octet-stream"))
        if not rule.get("no_etag"):
            self.send_header("ETag", etag)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if rule.get("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
        elif not rule.get("no_length"):
            self.send_header("Content-Length", str(len(body) + rule.get("length_add", 0)))
        self.end_headers()
        if rule.get("chunked"):
            self.wfile.write(f"{len(body):x}\r\n".encode() + body)
            if "cut_after" not in rule:
                self.wfile.write(b"\r\n0\r\n\r\n")
            return
        self._send_body(body, rule)

    def _first_byte(self, etag: str) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or self.headers.get("If-Range", etag) != etag:
            return 0
        return int(match.group(1))

    def _send_body(self, body: bytes, rule: dict[str, Any]) -> None:
        out = self.wfile
        rate = rule.get("bytes_per_second")
        piece = max(1, rate // 10) if rate else _PIECE
        cut, stall = rule.get("cut_after"), rule.get("stall_after")
        end = min(limit for limit in (cut, stall, len(body)) if limit is not None)
        for start in range(0, end, piece):
            out.write(body[start : min(start + piece, end)])
            if rate:
                self.server.ngc.wait(piece / rate)
        out.flush()
        if stall is not None:
            self.server.ngc.wait(rule.get("stall_s", 3600))
        if cut is not None and rule.get("reset"):
            # Time for the client to read what was sent: a reset throws away the rest.
            self.server.ngc.wait(0.2)
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            with contextlib.suppress(OSError):
                self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass


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
