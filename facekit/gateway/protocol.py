"""HTTP/1.1 connections with the limits that uvicorn's own lack."""

import asyncio
import re
import socket
import struct
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from facekit.gateway.access import network_of
from facekit.gateway.counts import Counts
from facekit.gateway.problems import ProblemError
from facekit.gateway.settings import GatewayLimits

# A chunk costs h11 about 20 microseconds, however small it is: a client may send some small ones,
# as a program does that writes line by line, and then as many as are at least so large.
_SMALL_CHUNKS = 4096
_LARGE_CHUNK_BYTES = 1024

_END_OF_HEAD = b"\r\n\r\n"
# h11 takes both, and a proxy before this server may take them for something else: a line that ends
# without a carriage return, and one that begins with a space, which continues the one before.
_AMBIGUOUS_LINE = re.compile(rb"(?<!\r)\n|\n[ \t]")

# struct linger: on, for 0 seconds.
_NO_LINGER = struct.pack("ii", 1, 0)
_IDLE = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}


class _Connection(h11.Connection):
    """h11's state of a connection, which refuses what may hide another request, or costs a lot."""

    def __init__(self, header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=header_bytes)
        self.refused: ProblemError | None = None
        self._header_bytes = header_bytes
        self._chunks = 0
        self._bytes = 0

    def next_event(self) -> Any:
        """Return the next event, as h11's does; what is refused is kept as ``refused``."""
        if self.their_state is h11.IDLE:
            self._check_head(self.trailing_data[0])
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise self._too_long() from error
            raise self._refusal(error.error_status_hint, f"not HTTP/1.1: {error}") from error
        if isinstance(event, h11.Request):
            self._check_headers(event)
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += 1
            self._bytes += len(event.data)
            if self._chunks > _SMALL_CHUNKS + self._bytes // _LARGE_CHUNK_BYTES:
                raise self._refusal(
                    413,
                    f"the body comes in {self._chunks:,} chunks of {self._bytes:,} bytes together: "
                    "send larger ones",
                    "chunks",
                )
        return event

    def _check_head(self, data: bytes) -> None:
        """Check the request line and the headers as they came; they may not be complete."""
        end = data.find(_END_OF_HEAD)
        if end > self._header_bytes:
            raise self._too_long()
        if _AMBIGUOUS_LINE.search(data, 0, len(data) if end < 0 else end):
            raise self._refusal(400, "not HTTP/1.1: a line of the headers ends or begins wrongly")

    def _check_headers(self, request: h11.Request) -> None:
        if not b"1.0" <= request.http_version <= b"1.1":
            raise self._refusal(505, "expected HTTP/1.1")
        headers = dict(request.headers)
        if b"transfer-encoding" in headers and (
            b"content-length" in headers or request.http_version < b"1.1"
        ):
            raise self._refusal(400, "Transfer-Encoding: not beside Content-Length or in HTTP/1.0")
        if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
            raise self._refusal(417, "Expect: expected 100-continue")

    def _too_long(self) -> h11.RemoteProtocolError:
        return self._refusal(431, "the request line and headers are too long", "headers")

    def _refusal(
        self, status: int, detail: str, reason: str = "malformed"
    ) -> h11.RemoteProtocolError:
        self.refused = ProblemError(status, detail, reason=reason)
        return h11.RemoteProtocolError(detail, error_status_hint=status)


def limited_protocol(limits: GatewayLimits, counts: Counts) -> type[H11Protocol]:
    """Return the class of connections with these limits, for uvicorn's option ``http``."""
    # The open connections of each client's address, the oldest first.
    clients: dict[str, dict[Any, None]] = {}

    class LimitedProtocol(H11Protocol):
        """A connection that ends when its headers take too long, or nobody reads its answers.

        Where too many are open, the address with the most of them loses one for a new one.
        """

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self.conn: h11.Connection = _Connection(limits.header_bytes)
            self._header_timer: asyncio.TimerHandle | None = None
            self._write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                # A listener on :: has IPv4 callers too, whose addresses proxies and rates go by.
                self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
            self._address = network_of(self.client[0]) if self.client else ""
            clients.setdefault(self._address, {})[self] = None
            self._wait_for_headers()
            if sum(map(len, clients.values())) > limits.connections:
                self._make_room()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            _stop(self._header_timer)
            self._header_timer = None
            _stop(self._write_timer)
            self._write_timer = None
            super().connection_lost(exc)

        def _forget(self) -> None:
            of_client = clients.get(self._address, {})
            of_client.pop(self, None)
            if not of_client:
                clients.pop(self._address, None)

        def _make_room(self) -> None:
            most = max(clients.values(), key=len)
            idle = (each for each in most if each.conn.states == _IDLE and each is not self)
            ended = next(idle, self if self in most else next(iter(most)))
            if ended is self:
                self._refuse(
                    ProblemError(503, "too many connections are open", reason="connections")
                )
            else:
                counts.refuse("connections")
                _reset(ended.transport)
            ended._forget()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                _stop(self._header_timer)
                self._header_timer = None
            elif self._header_timer is None:
                self._wait_for_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
                self._wait_for_headers()
            self._watch_writing()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_writing()

        def send_400_response(self, msg: str) -> None:
            refused = self.conn.refused if isinstance(self.conn, _Connection) else None
            self._refuse(refused or ProblemError(400, msg, reason="malformed"))

        def _refuse(self, problem: ProblemError) -> None:
            counts.refuse(problem.reason)
            if self.cycle is not None:  # its own answer is no longer sent
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            answer = problem.response()
            headers = [*answer.raw_headers, (b"connection", b"close")]
            try:
                head = h11.Response(status_code=problem.status, headers=headers)
                for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            except h11.LocalProtocolError:  # an answer to this request is under way
                self.transport.abort()
            else:
                self.transport.close()
                self._watch_writing()

        def _wait_for_headers(self) -> None:
            _stop(self._header_timer)
            self._header_timer = self.loop.call_later(limits.header_timeout_s, self._too_slow)

        def _too_slow(self) -> None:
            self._header_timer = None
            if self.conn.trailing_data[0]:
                seconds = f"{limits.header_timeout_s:g} s"
                self._refuse(
                    ProblemError(408, f"no complete headers within {seconds}", reason="slow")
                )
            else:  # nothing was asked
                self.transport.close()

        def _watch_writing(self, before: int | None = None) -> None:
            """End the connection when its caller reads more slowly than it may send.

            Otherwise what was not read would be kept, also after the connection was closed.
            """
            _stop(self._write_timer)
            self._write_timer = None
            try:
                left = self.transport.get_write_buffer_size()
            except AttributeError:  # asyncio's TLS transport, once it is closed
                return
            if left == 0:
                return
            least = limits.slowest_bytes_per_s * limits.idle_timeout_s
            if before is not None and before - left < min(least, before):
                counts.refuse("slow")
                _reset(self.transport)
                return
            self._write_timer = self.loop.call_later(
                limits.idle_timeout_s, self._watch_writing, left
            )

    return LimitedProtocol


def _reset(transport: asyncio.Transport) -> None:
    """Close a connection so that the kernel, too, forgets what was not sent."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    """Stop a timer, if there is one."""
    if timer is not None:
        timer.cancel()
