"""gRPC for callers with a token: passes calls on to Triton, which can't ask for tokens itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from tritonclient.grpc import MAX_GRPC_MESSAGE_SIZE

from facekit.errors import FacekitError, SetupError
from facekit.gateway.access import Rates, Tokens
from facekit.gateway.problems import ProblemError, problem_of
from facekit.gateway.settings import GatewaySettings
from facekit.gateway.upstream import Server, Upstream
from facekit.serving import ports

_TRITON = "/inference.GRPCInferenceService/"
_OPEN = frozenset({f"{_TRITON}ServerLive", f"{_TRITON}ServerReady", "/grpc.health.v1.Health/Check"})
"""What is answered without a token, as over HTTP: probes."""

_CALLS = _OPEN | {
    f"{_TRITON}{name}"
    for name in (
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "ModelInfer",
    )
}
"""What callers and probes of the kit need; the rest changes or reads more of the machine."""

_STATUS = {401: grpc.StatusCode.UNAUTHENTICATED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED}

Handler = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]


class GrpcProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Passes on the messages of allowed calls as they are."""

    def __init__(self, upstream: Upstream, tokens: Tokens, rates: Rates | None) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._rates = rates

    def service(self, details: Any) -> Any:
        """Return how one call is answered; None for one that does not exist here."""
        if details.method not in _CALLS:
            return None
        # As a stream of one message, which is read only once its caller was let in.
        return grpc.stream_unary_rpc_method_handler(self._handler(details))

    def _handler(self, details: Any) -> Handler:
        method: str = details.method

        async def answer(requests: AsyncIterator[bytes], context: Any) -> bytes:
            try:
                request = b""  # of a probe, whose message nobody needs to wait for
                if method not in _OPEN:
                    self._admit(dict(details.invocation_metadata))
                    request = await anext(requests, b"")

                async def relay(server: Server) -> bytes:
                    return await server.relay(method, request, context.time_remaining())

                return await self._upstream.run(relay)
            except ProblemError as problem:
                code = _STATUS.get(problem.status, grpc.StatusCode.UNAVAILABLE)
                await context.abort(code, problem.detail)
            except FacekitError as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, problem_of(error).detail)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            raise AssertionError  # abort raises

        return answer

    def _admit(self, metadata: dict[str, Any]) -> None:
        name = self._tokens.name_of(str(metadata.get("authorization", "")))
        if self._rates is not None:
            self._rates.take(name)


async def start_grpc(settings: GatewaySettings, proxy: GrpcProxy) -> Any:
    """Start the gRPC server; ``stop`` of what is returned ends it.

    Raises SetupError if it can't listen.
    """
    limits = settings.limits
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=limits.requests_per_server * len(settings.urls) + limits.waiting,
    )
    server.add_generic_rpc_handlers((proxy,))
    where = f"{ports.host_in_url(settings.address)}:{settings.grpc_port}"
    try:
        if settings.certificate is None or settings.key is None:
            server.add_insecure_port(where)
        else:
            pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
            server.add_secure_port(where, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError) as error:
        raise SetupError(f"Cannot listen on {where} (--grpc-port): {error}") from error
    await server.start()
    return server
