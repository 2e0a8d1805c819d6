"""HTTP/1.1 connections with the limits that uvicorn's own lack."""

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from facekit.gateway.counts import Counts
from facekit.gateway.problems import ProblemError
from facekit.gateway.settings import GatewayLimits

# A chunk costs h11 about 20 microseconds, however small it is: a client may send some small ones,
# as a program does that writes line by line, and then as many as are at least so large.
_SMALL_CHUNKS = 4096
_LARGE_CHUNK_BYTES = 1024


class _Connection(h11.Connection):
    """h11's state of a connection, which counts the chunks of each body."""

    def __init__(self, header_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=header_bytes)
        self.refused: ProblemError | None = None
        self._chunks = 0
        self._bytes = 0

    def next_event(self) -> Any:
        """Return the next event, as h11's does; what is refused is kept as ``refused``."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.refused = _malformed(error)
            raise
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += 1
            self._bytes += len(event.data)
            if self._chunks > _SMALL_CHUNKS + self._bytes // _LARGE_CHUNK_BYTES:
                detail = (
                    f"the body comes in {self._chunks:,} chunks of {self._bytes:,} bytes together"
                )
                self.refused = ProblemError(413, f"{detail}: send larger ones", reason="chunks")
                raise h11.RemoteProtocolError(detail, error_status_hint=413)
        return event


def _malformed(error: h11.RemoteProtocolError) -> ProblemError:
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return ProblemError(431, "the request line and headers are too long", reason="headers")
    return ProblemError(error.error_status_hint, f"not HTTP/1.1: {error}", reason="malformed")


def limited_protocol(limits: GatewayLimits, counts: Counts) -> type[H11Protocol]:
    """Return the class of connections with these limits, for uvicorn's option ``http``."""

    class LimitedProtocol(H11Protocol):
        """A connection that is closed when its headers take too long, or there are too many."""

        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            self.conn: h11.Connection = _Connection(limits.header_bytes)
            self._header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            # For an answer that nobody takes: closing would wait for it to be sent.
            self.app_state = {**self.app_state, "abort": transport.abort}
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._refuse(
                    ProblemError(503, "too many connections are open", reason="connections")
                )
            else:
                self._wait_for_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._header_timer is None:
                self._wait_for_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.trailing_data[0] and self.conn.their_state is h11.IDLE:
                self._wait_for_headers()

        def send_400_response(self, msg: str) -> None:
            refused = self.conn.refused if isinstance(self.conn, _Connection) else None
            self._refuse(refused or ProblemError(400, msg, reason="malformed"))

        def _refuse(self, problem: ProblemError) -> None:
            counts.refuse(problem.reason)
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

        def _wait_for_headers(self) -> None:
            self._stop_timer()
            self._header_timer = self.loop.call_later(limits.header_timeout_s, self._too_slow)

        def _stop_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _too_slow(self) -> None:
            self._header_timer = None
            if self.conn.trailing_data[0]:
                seconds = f"{limits.header_timeout_s:g} s"
                self._refuse(
                    ProblemError(408, f"no complete headers within {seconds}", reason="slow")
                )
            else:  # nothing was asked
                self.transport.close()

    return LimitedProtocol
