"""What every request passes: access, counts, safe headers, and an end to each connection."""

import asyncio
from collections.abc import Coroutine, MutableMapping
from typing import Any, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facekit.gateway.access import Rates, Tokens, network_of
from facekit.gateway.counts import Counts
from facekit.gateway.pages import FILES
from facekit.gateway.problems import ProblemError
from facekit.gateway.sites import Sites

Result = TypeVar("Result")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of every answer that does not set its own."""

OPEN_PATHS = frozenset({*FILES, "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""What is answered without a token: probes, and the page that asks for one."""

# After an error in mid-body the rest is read for so long, since a client that still sends would
# see a broken connection in place of the answer.
_LINGER_S = 2.0


class AccessMiddleware:
    """Pure ASGI middleware around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        counts: Counts,
        tokens: Tokens | None,
        rates: Rates | None,
        sites: Sites,
    ) -> None:
        self._app = app
        self._counts = counts
        self._tokens = tokens
        self._rates = rates
        self._sites = sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._counts.begin()
        exchange = _Exchange(scope, receive, send)
        try:
            try:
                self._admit(scope)
                await self._app(scope, exchange.receive, exchange.send)
            except ProblemError as problem:
                self._counts.refuse(problem.reason)
                await problem.response(scope["path"])(scope, exchange.receive, exchange.send)
        finally:
            self._counts.end()

    def _admit(self, scope: Scope) -> None:
        path: str = scope["path"]
        if path in OPEN_PATHS:
            return
        headers = Headers(scope=scope)
        self._sites.check(headers)
        client = network_of(scope["client"][0]) if scope["client"] else ""
        if self._tokens is not None and scope["method"] != "OPTIONS":
            client = self._tokens.name_of(headers.get("authorization", ""))
        if self._rates is not None:
            self._rates.take(client)


class _Exchange:
    """One request and its answer, as the application sees them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        headers = Headers(scope=scope)
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._unread:
                headers["Connection"] = "close"
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        async def drain() -> None:
            while self._unread:
                await self.receive()

        try:
            await asyncio.wait_for(drain(), _LINGER_S)
        except asyncio.TimeoutError:
            pass


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what comes of work, which ends when the caller closes the connection."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ProblemError(400, "the caller has closed the connection", reason="gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
