"""How the play NGC answers a request: both of its hosts, and their faults."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import sys
import time
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes.ngc_scenarios import SESSION_TOKEN, SIGNATURE

if TYPE_CHECKING:
    from tests.fakes.ngc_server import NgcServer

_API = re.compile(
    r"/v2/(?:models|resources)/(?P<org>[^/]+)/(?P<team>[^/]+)/(?P<name>[^/]+)"
    r"/versions/(?P<version>[^/]+)/files/(?P<file>[^/]+)"
)
_NEWER_API = re.compile(
    r"/v2/(?:models|resources)/org/(?P<org>[^/]+)/team/(?P<team>[^/]+)/(?P<name>[^/]+)"
    r"/(?P<version>[^/]+)/files"
)
_PIECE = 16384


class Listener(ThreadingHTTPServer):
    """One of the two hosts; ``role`` is ``"api"`` or ``"storage"``."""

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
    server: Listener

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
