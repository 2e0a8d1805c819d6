"""The servers behind a gateway: gRPC channels, and which of them answers a request."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import grpc
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

from facekit.client.asynchronous import AsyncClient
from facekit.client.connection import Connection
from facekit.client.failures import translate
from facekit.errors import FacekitError, ServerUnavailableError
from facekit.gateway.problems import ProblemError
from facekit.gateway.settings import GatewaySettings
from facekit.serving.endpoints import triton_headers

Result = TypeVar("Result")

# A server that could not be reached is asked last for so long.
_AWAY_S = 1.0
_TRIES = 2


class Server:
    """One Triton server, in two forms: the kit's client, and the bare protocol."""

    def __init__(self, url: str, settings: GatewaySettings) -> None:
        self._connection = Connection(
            url,
            settings.timeout_s,
            tls_certificate=settings.server_certificate,
            headers=() if settings.secret is None else triton_headers(settings.secret),
        )
        self._metadata = tuple(self._connection.metadata().items())
        self.url = url
        self.timeout_s = settings.timeout_s
        self.in_flight = 0
        self.away_until = 0.0
        self.client = AsyncClient.over(self._connection)
        self._channel: Any = None
        self._stub: Any = None

    async def rpc(self, method: str, message: Any, model: str = "") -> Any:
        """Make one call of Triton's gRPC service, such as ``ModelInfer``; return its message.

        Raises the errors of the kit's client.
        """
        if self._stub is None:
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(await self.channel())
        call = getattr(self._stub, method)
        try:
            return await call(message, timeout=self.timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, model) from error

    async def relay(self, method: str, request: bytes, timeout_s: float | None) -> bytes:
        """Make a call whose messages are passed on as they are.

        Raises ServerUnavailableError, and ``AioRpcError`` for every other status.
        """
        call = (await self.channel()).unary_unary(method)
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            answer: bytes = await call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            failure = self._translated(error)
            if isinstance(failure, ServerUnavailableError):
                raise failure from error
            raise
        return answer

    def _translated(self, error: grpc.aio.AioRpcError, model: str = "") -> FacekitError:
        failure = InferenceServerException(error.details() or "", str(error.code()))
        return translate(failure, model=model, url=self.url, timeout_s=self.timeout_s)

    async def channel(self) -> grpc.aio.Channel:
        """Return the channel, which is opened at the first call."""
        if self._channel is None:
            arguments = await asyncio.to_thread(self._connection.arguments)
            # Another task may have been faster.
            self._channel = self._channel or _channel(arguments)
        return self._channel

    async def close(self) -> None:
        """Close both connections; calls under way fail."""
        await self.client.close()
        if self._channel is not None:
            await self._channel.close()


class Upstream:
    """All servers behind a gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._limits = settings.limits
        self.servers = [Server(url, settings) for url in settings.urls]
        self._free = asyncio.Semaphore(settings.limits.requests_per_server * len(self.servers))
        self.waiting = 0

    async def run(
        self, call: Callable[[Server], Awaitable[Result]], *, queued: bool = True
    ) -> Result:
        """Run a call on the server with the least to do, or on one other if it is away.

        An inference changes nothing, so that it may be sent twice. A call that is not an inference
        need not be ``queued``. Raises the last server's error, and ProblemError (503) if too many
        requests wait already.
        """
        async with self._turn() if queued else nullcontext():
            failure: ServerUnavailableError | None = None
            # Not on every one: the request may be what ended the first.
            for server in self._ordered()[:_TRIES]:
                server.in_flight += 1
                try:
                    return await call(server)
                except FacekitError as error:
                    # Where a server listens is nothing for callers.
                    error.args = (str(error).replace(server.url, "the server"),)
                    if not isinstance(error, ServerUnavailableError):
                        raise
                    server.away_until = time.monotonic() + _AWAY_S
                    failure = error
                finally:
                    server.in_flight -= 1
            assert failure is not None
            raise failure

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(server.close() for server in self.servers))

    def _ordered(self) -> list[Server]:
        now = time.monotonic()
        return sorted(self.servers, key=lambda server: (server.away_until > now, server.in_flight))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._free.locked():
            if self.waiting >= self._limits.waiting:
                raise ProblemError(503, "too many requests wait already; try again", reason="busy")
            self.waiting += 1
            try:
                await self._free.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()


def _channel(arguments: dict[str, Any]) -> grpc.aio.Channel:
    url, options = arguments["url"], arguments["channel_args"]
    if not arguments["ssl"]:
        return grpc.aio.insecure_channel(url, options=options)
    root, key, chain = (
        None if arguments[name] is None else Path(arguments[name]).read_bytes()
        for name in ("root_certificates", "private_key", "certificate_chain")
    )
    return grpc.aio.secure_channel(
        url, grpc.ssl_channel_credentials(root, key, chain), options=options
    )
