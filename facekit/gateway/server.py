"""Runs a gateway in this process until a signal ends it."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from facekit.errors import SetupError
from facekit.gateway.app import create_app
from facekit.gateway.counts import Counts
from facekit.gateway.metrics import metrics_app
from facekit.gateway.middleware import AccessMiddleware
from facekit.gateway.protocol import limited_protocol
from facekit.gateway.settings import GatewayLimits, GatewaySettings
from facekit.gateway.sites import Sites

# What requests under way get at a stop.
_STOP_S = 10
_KEEP_ALIVE_S = 60
_BACKLOG = 512
# Files that are open beside its connections.
_OWN_FILES = 256


def serve(
    settings: GatewaySettings,
    listener: socket.socket,
    metrics: socket.socket | None,
    say: Callable[[str], None],
) -> None:
    """Serve on sockets that are bound already, until SIGTERM or SIGINT.

    Those who come by the second one get ``settings.metrics_url`` and nothing else. Raises
    DataError, ConfigError or SetupError for settings that can't be used.
    """
    counts = Counts()
    _limit_open_files(settings.limits)
    # What a caller sends is no event of the server's; errors of our own are.
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.ERROR)
    # Nor are requests that a stop cut off.
    log.addFilter(lambda record: not _is_cancelled(record))
    app = create_app(settings, counts, say)
    config = uvicorn.Config(
        _by_port(app, metrics, settings, counts),
        http=limited_protocol(settings.limits, counts),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        backlog=_BACKLOG,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    try:
        config.load()
    except OSError as error:
        raise SetupError(f"TLS: {settings.certificate} cannot be used: {error}") from error
    server = _Server(config, settings.limits.header_timeout_s)
    server.run(sockets=[listener] if metrics is None else [listener, metrics])


def _limit_open_files(limits: GatewayLimits) -> None:
    """Bound the connections that are not counted yet: those without a TLS handshake."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2 * limits.connections + _OWN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if soft < 0 else min(soft, most), hard))


def _is_cancelled(record: logging.LogRecord) -> bool:
    return record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)


class _Server(uvicorn.Server):
    """A server with a limit on the time of a TLS handshake, for which uvicorn has no option.

    A connection whose handshake is not done takes 300 kB, and is none of ``protocol`` yet.
    """

    def __init__(self, config: uvicorn.Config, handshake_s: float) -> None:
        super().__init__(config)
        self._handshake_s = handshake_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        if self.config.is_ssl:
            loop = asyncio.get_running_loop()
            loop.create_server = partial(  # type: ignore[method-assign]
                loop.create_server, ssl_handshake_timeout=self._handshake_s
            )
        await super().startup(sockets)


def _by_port(
    app: ASGIApp, metrics: socket.socket | None, settings: GatewaySettings, counts: Counts
) -> ASGIApp:
    """Return the application that is another one for those who came by the metrics' port."""
    if metrics is None or settings.metrics_url is None:
        return app
    other = AccessMiddleware(
        metrics_app(settings.metrics_url, counts),
        counts=Counts(),
        tokens=None,
        rates=None,
        sites=Sites((), local=False),
    )
    port = metrics.getsockname()[1]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        came_by_it = scope["type"] == "http" and scope["server"][1] == port
        await (other if came_by_it else app)(scope, receive, send)

    return answer
