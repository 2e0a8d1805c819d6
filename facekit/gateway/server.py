"""Runs a gateway in this process until a signal ends it."""

import logging
import socket
from collections.abc import Callable

import uvicorn

from facekit.errors import SetupError
from facekit.gateway.app import create_app
from facekit.gateway.counts import Counts
from facekit.gateway.protocol import limited_protocol
from facekit.gateway.settings import GatewaySettings

# What requests under way get at a stop.
_STOP_S = 10
_KEEP_ALIVE_S = 60
_BACKLOG = 512


def serve(settings: GatewaySettings, listener: socket.socket, say: Callable[[str], None]) -> None:
    """Serve on a socket that is bound already, until SIGTERM or SIGINT.

    Raises DataError, ConfigError or SetupError for settings that can't be used.
    """
    counts = Counts()
    # What a caller sends is no event of the server's; errors of our own are.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        create_app(settings, counts, say),
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
    uvicorn.Server(config).run(sockets=[listener])
