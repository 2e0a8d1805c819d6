"""Callers of a gateway: of requests as they are, byte by byte, and of good ones meanwhile."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

# Of any request here, on a busy machine.
SOON_S = 15.0
INFER = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
CLOSED = 0


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    lines = "".join(f"{header}\r\n" for header in headers)
    return INFER + f"{lines}Content-Length: {length}\r\n\r\n".encode() + body


def ints(*, shape: object = (1,), data: object = (7,), **parameters: object) -> bytes:
    """Return the JSON of a request with one tensor."""
    tensor = {"name": "IN_INT32", "datatype": "INT32", "shape": shape, "parameters": parameters}
    if not parameters:
        tensor["data"] = data
    return json.dumps({"inputs": [tensor]}).encode()


class Gateway:
    """A gateway under attack, and callers that go on meanwhile."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.answered = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> Gateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def connect(self, address: str = "127.0.0.2") -> socket.socket:
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=SOON_S, source_address=(address, 0)
        )

    def status(self, sent: Iterable[bytes]) -> int:
        """Send pieces until an answer begins; return its status, or CLOSED without one."""
        end = time.monotonic() + SOON_S
        with self.connect() as caller:
            caller.setblocking(False)
            # select() takes no descriptor above 1,023.
            poll = select.poll()
            answer, pieces, piece = b"", iter(sent), b""
            done = False
            while time.monotonic() < end:
                if not done and not piece:
                    piece = next(pieces, b"")
                    done = not piece
                poll.register(caller, select.POLLIN | (select.POLLOUT if piece else 0))
                happened = dict(poll.poll(500)).get(caller.fileno(), 0)
                readable = happened & ~select.POLLOUT
                try:
                    if happened & select.POLLOUT:
                        piece = piece[caller.send(piece) :]
                    if readable:
                        found = caller.recv(65536)
                        answer += found
                        if match := re.match(rb"HTTP/1.1 ([2-5]\d\d) ", answer):
                            return int(match[1])
                        if not found:
                            return CLOSED
                        if answer.startswith(b"HTTP/1.1 100"):
                            answer = answer.partition(b"\r\n\r\n")[2]
                except (BrokenPipeError, ConnectionResetError):
                    return self._rest(caller, answer)
        raise AssertionError(f"no end within {SOON_S} s")

    @staticmethod
    def _rest(caller: socket.socket, answer: bytes) -> int:
        try:
            answer += caller.recv(65536)
        except OSError:
            pass
        match = re.match(rb"HTTP/1.1 (\d\d\d) ", answer)
        return int(match[1]) if match else CLOSED

    def memory(self) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    def _call(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.02):
                return
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON_S)
            try:
                connection.request("POST", "/v2/models/echo/infer", ints(data=[number]))
                answer = connection.getresponse().read()
                assert b'"data":[%d]' % number in answer, answer
                self.answered += 1
            except Exception as error:
                self.failures.append(f"request {number}: {error!r}")
            finally:
                connection.close()
